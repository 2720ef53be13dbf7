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
  image "ipfs/kubo:$KUBO" kubo ipfs
  image "nats:$NATS" nats nats-server
  image "postgres:$POSTGRES" postgres
  image "traefik:$TRAEFIK_TAG" traefik traefik
  image "$MONITORING/prometheus-operator:$PROMETHEUS_OPERATOR" prometheus-operator prometheus-operator
  image "$MONITORING/prometheus-config-reloader:$PROMETHEUS_OPERATOR" \
    prometheus-config-reloader prometheus-config-reloader
  image "quay.io/prometheus/prometheus:$PROMETHEUS" prometheus prometheus
  system_images
  node_image
}

# inputs_of IMAGE: the label of an image that exists, else nothing.
inputs_of() { docker image inspect -f "{{index .Config.Labels \"$LABEL\"}}" "$1" 2>/dev/null; }

# image NAME FOLDER [PROGRAM...]: builds images/FOLDER with PROGRAMs of $BIN added to its context.
image() {
  made_of "$1" "$LAB_DIR/images/$2" "${@:3}" || build "$1" "$LAB_DIR/images/$2" "${@:3}"
}

# program_image NAME BASE PATH: one program, of the same name in $BIN, that is also the entrypoint.
program_image() {
  local folder=$CACHE/built/image
  rm -rf "$folder"
  mkdir -p "$folder"
  printf 'FROM %s\nCOPY %s %s\nENTRYPOINT ["%s"]\n' "$2" "${3##*/}" "$3" "$3" >"$folder/Dockerfile"
  made_of "$1" "$folder" "${3##*/}" || build "$1" "$folder" "${3##*/}"
}

# made_of NAME FOLDER PROGRAM...: the image's label says that it was made from these inputs.
made_of() { [ "$(inputs_of "$1")" = "$(inputs "${@:2}")" ]; }

# build NAME FOLDER PROGRAM...
# The host's network is for apt-get alone: the bridges reach nothing outside (see egress_rules).
build() {
  local name=$1 folder=$2 context start=$SECONDS log=$CACHE/log/image.log
  shift 2
  context=$(mktemp -d)
  cp "$folder"/* "${@/#/$BIN/}" "$context"
  docker build --network=host --label "$LABEL=$(inputs "$folder" "$@")" -t "$name" "$context" >"$log" 2>&1 || {
    tail -20 "$log" >&2
    die "building image $name failed"
  }
  rm -rf "$context"
  say "built image $name in $((SECONDS - start)) s"
}

# inputs FOLDER PROGRAM...: a hash over the folder's files, what the programs were made of, and the labels of the images
# that the Dockerfile starts from.
inputs() {
  local base
  {
    (cd "$1" && sha256sum ./*)
    [ $# = 1 ] || (cd "$CACHE/stamps" && sha256sum "${@:2}")
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
