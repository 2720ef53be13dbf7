# The operator: one static program, the public certificate authorities, nothing else. Its context is made by "build".
FROM scratch
COPY ca-certificates.crt /etc/ssl/certs/
COPY anchorage-operator /
USER 65532:65532
ENTRYPOINT ["/anchorage-operator"]
