{{- define "is.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 53 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 53 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "is.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "is.labels" -}}
{{ include "is.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "is.account" -}}
{{- if .Values.serviceAccount.create }}{{ .Values.serviceAccount.name | default (include "is.name" .) }}{{ else }}{{ .Values.serviceAccount.name | default "default" }}{{ end }}
{{- end }}

{{- define "is.image" -}}
{{- $image := .Values.image -}}
{{- if $image.digest }}{{ $image.repository }}@{{ $image.digest }}{{ else }}{{ $image.repository }}:{{ $image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{- define "is.claim" -}}
{{- .Values.models.claim.name | default (printf "%s-models" (include "is.name" .)) }}
{{- end }}

{{- define "is.certificateSecret" -}}
{{- .Values.certificate.secret | default (printf "%s-tls" (include "is.name" .)) }}
{{- end }}

{{- /* The rights of every container: those of the restricted Pod Security Standard, and less. */}}
{{- define "is.rights" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities:
  drop: ["ALL"]
{{- end }}

{{- define "is.podRights" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- /* The settings with what the chart itself decides. */}}
{{- define "is.settings" -}}
{{- $own := dict "host" "0.0.0.0" "port" 8000 "models" "/models" -}}
{{- $_ := set $own "runtime" (dict "profile_cache" "/cache") -}}
{{- $security := dict -}}
{{- if .Values.security.keysSecret }}{{ $_ := set $security "keys_file" "/etc/keys/keys.toml" }}{{ else if .Values.security.anonymous }}{{ $_ := set $security "anonymous" true }}{{ end -}}
{{- if .Values.security.tlsSecret }}{{ $_ := set $security "tls" (dict "certificate" "/etc/tls/tls.crt" "key" "/etc/tls/tls.key") }}{{ end -}}
{{- if $security }}{{ $_ := set $own "security" $security }}{{ end -}}
{{- if .Values.grpc.enabled }}{{ $_ := set $own "grpc" (dict "port" .Values.grpc.port) }}{{ end -}}
{{- if .Values.platforms.actuator }}{{ $_ := set $own "platforms" (dict "actuator" true) }}{{ end -}}
{{- mustMergeOverwrite (deepCopy .Values.settings) $own | toToml -}}
{{- end }}

{{- /* The busy share of each replica's slots, summed over replicas and models: runs take all cores of a
replica in turn, so that one full replica counts as about 1 whatever its models. */}}
{{- define "is.busy" -}}
{{- $of := printf "{namespace=%q,job=%q}" .Release.Namespace (include "is.name" .) -}}
sum(rate(inference_batch_seconds_total{{ $of }}[1m]) / on (pod, model, version) inference_slots{{ $of }})
{{- end }}

{{- /* Requests per second over all replicas. */}}
{{- define "is.rate" -}}
{{- $of := printf "{namespace=%q,job=%q}" .Release.Namespace (include "is.name" .) -}}
sum(rate(inference_requests_total{{ $of }}[1m]))
{{- end }}

{{- define "is.probe" -}}
httpGet:
  path: {{ .path }}
  port: http
  {{- if .tls }}
  scheme: HTTPS
  {{- end }}
{{- end }}

{{- define "is.check" -}}
{{- $v := .Values -}}
{{- if and (eq $v.models.source "claim") (not $v.models.claim.name) (not $v.models.claim.create) }}{{ fail "models.source=claim needs models.claim.name, or models.claim.create" }}{{ end -}}
{{- if and (eq $v.models.source "objectStore") (not $v.models.objectStore.remote) }}{{ fail "models.source=objectStore needs models.objectStore.remote" }}{{ end -}}
{{- if and $v.backup.enabled (or (ne $v.models.source "claim") (not $v.backup.destination)) }}{{ fail "backup needs models.source=claim and backup.destination" }}{{ end -}}
{{- if and (not $v.security.anonymous) (not $v.security.keysSecret) (not (dig "security" "oidc" "issuer" "" $v.settings)) }}{{ fail "security.anonymous=false needs security.keysSecret or settings.security.oidc" }}{{ end -}}
{{- if eq (dig "security" "tls" "client_certificates" "" $v.settings) "required" }}{{ fail "settings.security.tls.client_certificates=required: probes of Kubernetes present no certificate; use optional" }}{{ end -}}
{{- if and (eq $v.autoscaling.metric "rate") (not $v.autoscaling.targetRate) }}{{ fail "autoscaling.metric=rate needs autoscaling.targetRate: what a replica is to carry" }}{{ end -}}
{{- if and (eq $v.autoscaling.kind "keda") (eq $v.autoscaling.metric "cpu") }}{{ fail "autoscaling.kind=keda needs autoscaling.metric=rate or saturation" }}{{ end -}}
{{- if and (eq $v.autoscaling.kind "hpa") (lt (int $v.autoscaling.minReplicas) 1) }}{{ fail "autoscaling.minReplicas=0 needs autoscaling.kind=keda" }}{{ end -}}
{{- if and (eq $v.autoscaling.kind "keda") (lt (int $v.autoscaling.minReplicas) 1) (not $v.autoscaling.keda.activationQuery) }}{{ fail "autoscaling.minReplicas=0 needs autoscaling.keda.activationQuery: no replica, no metric of its own" }}{{ end -}}
{{- if and $v.ingress.enabled (not $v.ingress.host) }}{{ fail "ingress.enabled needs ingress.host" }}{{ end -}}
{{- if and $v.gateway.enabled (not $v.gateway.parents) }}{{ fail "gateway.enabled needs gateway.parents" }}{{ end -}}
{{- end }}
