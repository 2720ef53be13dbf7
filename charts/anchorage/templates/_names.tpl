{{/* Name of everything in the release's namespace. */}}
{{- define "anchorage.name" -}}
{{- if contains "operator" .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-operator" .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Name of what is not namespaced, so that two releases do not meet. */}}
{{- define "anchorage.clusterName" -}}
{{- printf "%s-%s" .Release.Namespace (include "anchorage.name" .) | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "anchorage.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "anchorage.name" .) -}}
{{- end -}}

{{/* The namespace whose clusters are run. */}}
{{- define "anchorage.watchNamespace" -}}
{{- .Values.watchNamespace | default .Release.Namespace -}}
{{- end -}}

{{- define "anchorage.selector" -}}
app.kubernetes.io/name: anchorage-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "anchorage.labels" -}}
{{ include "anchorage.selector" . }}
app.kubernetes.io/component: operator
app.kubernetes.io/part-of: anchorage
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}
