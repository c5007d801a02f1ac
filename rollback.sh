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
if [[ $release == *-svc ]] && ! kubectl get modelrelease "$release" -n "$namespace" >/dev/null 2>&1; then
  release=${release%-svc}
fi
if ! modelrelease abort "$release" -n "$namespace" "$@"; then
  echo "rollback: to go back to a version that served before, set spec.model back to it;" \
    "\`modelrelease history $release -n $namespace\` names it" >&2
  exit 1
fi
