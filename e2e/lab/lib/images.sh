# shellcheck shell=bash disable=SC2153
# The container images: pulled where a registry answers, else made here from packages. An image made here carries a
# label with the hash of its inputs (Dockerfile, files, base images); one whose inputs did not change is left alone.

LABEL=anchorage.lab.inputs
MONITORING=quay.io/prometheus-operator

# What tests run beside the project's own images.
WORKLOAD_IMAGES=(
  "busybox:$BUSYBOX_TAG"
  "ipfs/kubo:$KUBO"
  "nats:$NATS"
  "postgres:$POSTGRES"
  "traefik:$TRAEFIK_TAG"
  "$MONITORING/prometheus-operator:$PROMETHEUS_OPERATOR"
  "$MONITORING/prometheus-config-reloader:$PROMETHEUS_OPERATOR"
  "quay.io/prometheus/prometheus:$PROMETHEUS"
)

images() {
  if images_are_made_here; then make_images; else pull_images; fi
}

# Asked once, remembered until "lab down": ANCHORAGE_IMAGES=registry or here decides without asking.
images_are_made_here() {
  local known=${ANCHORAGE_IMAGES:-$(cat "$CACHE/images-from" 2>/dev/null)}
  if [ -z "$known" ]; then
    known=here
    if timeout 15 docker pull -q "busybox:$BUSYBOX_TAG" >/dev/null 2>&1; then known=registry; fi
    say "images come from $([ $known = here ] && echo 'packages: no image registry answers' || echo 'their registries')"
  fi
  echo "$known" >"$CACHE/images-from"
  case "$known" in
    here) true ;;
    registry) false ;;
    *) die "ANCHORAGE_IMAGES is '$known': write registry or here, or leave it out" ;;
  esac
}

pull_images() {
  local name
  for name in "${WORKLOAD_IMAGES[@]}"; do
    docker image inspect "$name" >/dev/null 2>&1 || timed docker pull -q "$name"
  done
}

make_images() {
  export DOCKER_BUILDKIT=0             # the newer builder is a separate package, and these builds need none of it
  [ "$(id -u)" = 0 ] || die "making images from packages needs root; with an image registry: ANCHORAGE_IMAGES=registry"
  debian_packages debootstrap
  debian_image
  image anchorage.local/parts:lab parts
  image "busybox:$BUSYBOX_TAG" busybox
  image anchorage.local/net-base:lab net-base
  image "ipfs/kubo:$KUBO" kubo "$BIN/ipfs"
  image "nats:$NATS" nats "$BIN/nats-server"
  image "postgres:$POSTGRES" postgres
  image "traefik:$TRAEFIK_TAG" traefik "$BIN/traefik"
  image "$MONITORING/prometheus-operator:$PROMETHEUS_OPERATOR" prometheus-operator "$BIN/prometheus-operator"
  image "$MONITORING/prometheus-config-reloader:$PROMETHEUS_OPERATOR" \
    prometheus-config-reloader "$BIN/prometheus-config-reloader"
  image "quay.io/prometheus/prometheus:$PROMETHEUS" prometheus "$BIN/prometheus"
  system_images
  node_image
}

# inputs_of IMAGE: the label of an image that exists, else nothing.
inputs_of() { docker image inspect -f "{{index .Config.Labels \"$LABEL\"}}" "$1" 2>/dev/null; }

# image NAME FOLDER [FILE...]: builds images/FOLDER with FILEs added to its context.
image() {
  local context
  context=$(mktemp -d)
  cp "$LAB_DIR/images/$2"/* "$context"
  [ $# -le 2 ] || cp "${@:3}" "$context"
  build "$1" "$context"
  rm -rf "$context"
}

# program_image NAME BASE PATH: one program, of the same name in $BIN, that is also the entrypoint.
program_image() {
  local context
  context=$(mktemp -d)
  cp "$BIN/${3##*/}" "$context"
  printf 'FROM %s\nCOPY %s %s\nENTRYPOINT ["%s"]\n' "$2" "${3##*/}" "$3" "$3" >"$context/Dockerfile"
  build "$1" "$context"
  rm -rf "$context"
}

# build NAME CONTEXT: skipped when the image's label says that it was made from the same inputs.
# The host's network is for apt-get alone: the bridges reach nothing outside (see egress_rules).
build() {
  local inputs start=$SECONDS log=$CACHE/log/image.log
  inputs=$(context_hash "$2")
  [ "$(inputs_of "$1")" != "$inputs" ] || return 0
  if ! docker build --network=host --label "$LABEL=$inputs" -t "$1" "$2" >"$log" 2>&1; then
    tail -20 "$log" >&2
    die "building image $1 failed"
  fi
  say "built image $1 in $((SECONDS - start)) s"
}

# context_hash FOLDER: over its files and over the labels of the images that its Dockerfile starts from.
context_hash() {
  local base
  {
    (cd "$1" && sha256sum ./*)
    awk '$1 == "FROM" {print $2}' "$1/Dockerfile" | while read -r base; do inputs_of "$base" || true; done
  } | sha256sum | cut -d' ' -f1
}

# The only image that is not made from another one: debootstrap asks the mirror that apt already uses.
debian_image() {
  local name=debian:$DEBIAN_SUITE-slim root inputs mirror start=$SECONDS log=$CACHE/log/debootstrap.log
  inputs=debootstrap-minbase-$DEBIAN_SUITE
  [ "$(inputs_of "$name")" != "$inputs" ] || return 0
  # shellcheck disable=SC2016
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' "Codename: $DEBIAN_SUITE" | head -n1)
  root=$(mktemp -d)
  debootstrap --variant=minbase "$DEBIAN_SUITE" "$root" ${mirror:+"$mirror"} >"$log" 2>&1 ||
    { tail -20 "$log" >&2; die "debootstrap failed, see $log"; }
  rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/cache/apt/*.bin "$root"/var/lib/apt/lists/* \
    "$root"/usr/share/{man,doc,locale,info}/* "$root"/var/log/*
  tar -C "$root" --exclude='./proc/*' --exclude='./sys/*' --exclude='./dev/*' -c . |
    docker import -c "LABEL $LABEL=$inputs" -c 'CMD ["bash"]' - "$name" >/dev/null
  rm -rf "$root"
  say "built image $name in $((SECONDS - start)) s"
}
