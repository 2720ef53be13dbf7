# The pinner: one static program, the public certificate authorities, nothing else. Its context is made by "build".
FROM scratch
COPY ca-certificates.crt /etc/ssl/certs/
COPY anchorage /
USER 65532:65532
EXPOSE 8080 9090
ENTRYPOINT ["/anchorage"]
