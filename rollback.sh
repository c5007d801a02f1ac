#!/usr/bin/env bash
# Takes a canary back by hand, with your kubeconfig and your rights:
#     ./rollback.sh NAMESPACE RELEASE [options of `modelrelease abort`]
# The operator does so by itself where a canary is worse. RELEASE may be the name of a Service that ends in -svc.
# A version that serves everybody already has no canary: then this changes nothing, and says how to go back.
set -euo pipefail
if [ $# -lt 2 ] || [ "$2" = --help ]; then
  sed -n '2,5s/^# \{0,1\}//p' "$0"
  if [ "${1:-}" = --help ]; then exit 0; else exit 2; fi
fi
namespace=$1 release=$2
shift 2
PATH=$PATH:$(cd "$(dirname "$0")" && pwd)/.venv/bin
if ! command -v modelrelease >/dev/null; then
  echo "rollback: the command modelrelease is not here: in a clone, run \`make setup\`;" \
    "elsewhere, pip install 'modelrelease[operator]'" >&2
  exit 127
fi
if [[ $release == *-svc ]]; then
  # Looked for where it is aborted, and taken for a Service only where there is no release of the name.
  context=() next=
  for word; do
    if [ -n "$next" ] || [[ $word == --context* ]]; then context+=("$word"); fi
    if [ "$word" = --context ]; then next=yes; else next=; fi
  done
  told=$(modelrelease history "$release" -n "$namespace" ${context[@]+"${context[@]}"} 2>&1 >/dev/null) || true
  if [[ $told == *"does not exist"* ]]; then release=${release%-svc}; fi
fi
if ! modelrelease abort "$release" -n "$namespace" "$@"; then
  echo "rollback: to go back to a version that served before, set spec.model back to it;" \
    "\`modelrelease history $release -n $namespace\` names it" >&2
  exit 1
fi
