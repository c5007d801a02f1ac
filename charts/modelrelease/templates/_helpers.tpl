{{- define "modelrelease.labels" -}}
app.kubernetes.io/name: modelrelease-operator
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "modelrelease.selector" -}}
app.kubernetes.io/name: modelrelease-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- /* Other labels than the operator's, whose Deployment, budget and policy must not take these pods for its own. */ -}}
{{- define "modelrelease.uiSelector" -}}
app.kubernetes.io/name: modelrelease-ui
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- /* Where the Lease is: a place that every install knows which watches the same namespaces. */ -}}
{{- define "modelrelease.leaseNamespace" -}}
{{- if .Values.lease.namespace }}{{ .Values.lease.namespace }}
{{- else if .Values.watchNamespaces }}{{ first (sortAlpha .Values.watchNamespaces) }}
{{- else }}kube-system{{ end }}
{{- end }}

{{- /* Not empty unless it was said to be false: an upgrade with --reuse-values knows no such value. */ -}}
{{- define "modelrelease.clusterScoped" -}}
{{- if ne (toString .Values.clusterScoped) "false" }}true{{ end }}
{{- end }}

{{- define "modelrelease.image" -}}
{{- if .Values.image.digest }}{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else }}{{ .Values.image.repository }}:{{ .Values.image.tag }}{{ end }}
{{- end }}

{{- define "modelrelease.podTemplates" -}}
{{- $allowed := (.Values.podTemplates).allowed | default "none" }}
{{- if kindIs "string" $allowed }}{{ $allowed }}{{ else }}{{ join "," $allowed }}{{ end }}
{{- end }}

{{- define "modelrelease.rules" -}}
- apiGroups: [modelrelease.dev]
  resources: [modelreleases]
  verbs: [get, list, watch]
- apiGroups: [modelrelease.dev]
  resources: [modelreleases/status]
  verbs: [get, patch]
# Owner references with blockOwnerDeletion ask for this where OwnerReferencesPermissionEnforcement is on.
- apiGroups: [modelrelease.dev]
  resources: [modelreleases/finalizers]
  verbs: [update]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch, delete]
# The Jobs of spec.retrain, and those that read an artifact which only pods can.
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, create, patch]
# What holds back a drain of nodes, for revisions that have clients.
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
# The autoscalers of releases with spec.serving.autoscaling; others' are looked at.
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [get, list, watch, create, patch, delete]
# The routes of releases with spec.canary.routing.gatewayAPI.
- apiGroups: [gateway.networking.k8s.io]
  resources: [httproutes]
  verbs: [get, list, watch, create, patch, delete]
# The pools of others that a release's existingRoute leads to: one label of their selectors.
- apiGroups: [inference.networking.k8s.io]
  resources: [inferencepools]
  verbs: [get, list, watch, patch]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
- apiGroups: [""]
  resources: [events]
  verbs: [create, patch]
{{- if .Values.prometheus.allowSecretRefs }}
- apiGroups: [""]
  resources: [secrets]
  verbs: [get]
{{- end }}
{{- end }}
