{{- define "lipservice.labels" -}}
app.kubernetes.io/name: lipservice
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "lipservice.planeLabels" -}}
app.kubernetes.io/name: lipservice-control-plane
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- /* The gateway's configuration, following the control plane of this release if there is one. */}}
{{- define "lipservice.config" -}}
{{- $follow := dict }}
{{- if .Values.controlPlane.enabled }}
{{- $endpoint := printf "http://%s-lipservice-control-plane:%v" .Release.Name .Values.controlPlane.port }}
{{- $control := dict "endpoint" $endpoint "token" "${env:LIPSERVICE_TOKEN}" "state_file" "/var/lib/lipservice/policies.json" }}
{{- $follow = dict "role" "gateway" "control_plane" $control }}
{{- end }}
{{- toYaml (merge $follow .Values.config) }}
{{- end }}

{{- define "lipservice.pod" -}}
metadata:
  labels: {{- include "lipservice.labels" . | nindent 4 }}
  annotations:
    # The configuration is read at start and on SIGHUP: a change rolls the pods. Policies are watched: theirs does not.
    checksum/config: {{ include "lipservice.config" . | sha256sum }}
    {{- with .Values.podAnnotations }}{{ toYaml . | nindent 4 }}{{ end }}
spec:
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    seccompProfile: { type: RuntimeDefault }
  containers:
    - name: lipservice
      image: "{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}"
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args: [run, --config, /etc/lipservice/lipservice.yaml]
      env:
        - name: POSTHOG_TOKEN
          valueFrom:
            secretKeyRef: { name: {{ .Values.posthog.secretName }}, key: {{ .Values.posthog.secretKey }} }
        {{- if .Values.controlPlane.enabled }}
        - name: LIPSERVICE_TOKEN
          valueFrom:
            secretKeyRef: { name: {{ .Values.controlPlane.token.secretName }}, key: {{ .Values.controlPlane.token.secretKey }} }
        {{- end }}
      ports:
        {{- $host := and (eq .Values.kind "DaemonSet") .Values.hostPorts }}
        - { name: grpc, containerPort: {{ .Values.ports.grpc }}{{ if $host }}, hostPort: {{ .Values.ports.grpc }}{{ end }} }
        - { name: http, containerPort: {{ .Values.ports.http }}{{ if $host }}, hostPort: {{ .Values.ports.http }}{{ end }} }
        - { name: metrics, containerPort: {{ .Values.ports.metrics }} }
        - { name: health, containerPort: {{ .Values.ports.health }} }
      startupProbe:
        httpGet: { path: /health/ready, port: health }
        periodSeconds: 1
        failureThreshold: 30
      readinessProbe:
        httpGet: { path: /health/ready, port: health }
        periodSeconds: 5
      livenessProbe:
        httpGet: { path: /health/live, port: health }
      resources: {{- toYaml .Values.resources | nindent 8 }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: { drop: [ALL] }
      volumeMounts:
        # The folder, not single files: only then does a changed ConfigMap reach the container.
        - { name: config, mountPath: /etc/lipservice, readOnly: true }
        {{- if .Values.controlPlane.enabled }}
        # The last good policies outlive a restart of the container.
        - { name: state, mountPath: /var/lib/lipservice }
        {{- end }}
  volumes:
    - name: config
      configMap: { name: {{ .Release.Name }}-lipservice }
    {{- if .Values.controlPlane.enabled }}
    - name: state
      emptyDir: { sizeLimit: 64Mi }
    {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
