# shellcheck shell=bash disable=SC2153
# Makes the image of a Kubernetes node: a system with kubelet and containerd, whose containerd already holds the
# images of the control plane and of the tests (not unpacked: a node unpacks what it runs).

NODE_IMAGE=kindest/node:$KUBERNETES

SYSTEM_IMAGES=(
  "registry.k8s.io/kube-apiserver:$KUBERNETES"
  "registry.k8s.io/kube-controller-manager:$KUBERNETES"
  "registry.k8s.io/kube-scheduler:$KUBERNETES"
  "registry.k8s.io/kube-proxy:$KUBERNETES"
  "registry.k8s.io/coredns/coredns:$COREDNS_TAG"
  "registry.k8s.io/etcd:$ETCD_TAG"
  "registry.k8s.io/pause:$PAUSE_TAG"
  anchorage.local/local-path-provisioner:lab
  anchorage.local/cni:lab
)

system_images() {
  local component
  for component in kube-apiserver kube-controller-manager kube-scheduler; do
    program_image "registry.k8s.io/$component:$KUBERNETES" scratch "/usr/local/bin/$component"
  done
  program_image "registry.k8s.io/kube-proxy:$KUBERNETES" anchorage.local/net-base:lab /usr/local/bin/kube-proxy
  program_image "registry.k8s.io/coredns/coredns:$COREDNS_TAG" scratch /coredns
  program_image "registry.k8s.io/etcd:$ETCD_TAG" scratch /usr/local/bin/etcd
  program_image "registry.k8s.io/pause:$PAUSE_TAG" scratch /pause
  program_image anchorage.local/local-path-provisioner:lab scratch /usr/bin/local-path-provisioner
  program_image anchorage.local/cni:lab anchorage.local/net-base:lab /usr/bin/kubectl
}

node_image() {
  local folder=$CACHE/built/node inputs start=$SECONDS
  rm -rf "$folder"
  mkdir -p "$folder"
  cp "$LAB_DIR/node"/* "$folder"
  printf '%s' "$KUBERNETES" >"$folder/version"
  made_of anchorage.local/node-base:lab "$folder" kubeadm kubelet kubectl ||
    build anchorage.local/node-base:lab "$folder" kubeadm kubelet kubectl
  inputs=$(node_inputs)
  [ "$(inputs_of "$NODE_IMAGE")" != "$inputs" ] || return 0
  say "filling the node image, about a minute"
  fill_node_image "$inputs"
  say "built image $NODE_IMAGE in $((SECONDS - start)) s"
}

node_inputs() {
  local name
  for name in anchorage.local/node-base:lab "${SYSTEM_IMAGES[@]}" "${WORKLOAD_IMAGES[@]}"; do inputs_of "$name"; done |
    sha256sum | cut -d' ' -f1
}

# fill_node_image INPUTS: the base with all images in its containerd, committed under the name of kind's node image.
fill_node_image() {
  local container
  container=$(docker run -d --privileged --entrypoint sleep anchorage.local/node-base:lab infinity)
  docker exec -d "$container" containerd
  retry 30 docker exec "$container" ctr version || die "containerd does not start in $container"
  docker save "${SYSTEM_IMAGES[@]}" "${WORKLOAD_IMAGES[@]}" |
    docker exec -i "$container" ctr -n k8s.io images import --no-unpack - >/dev/null
  docker exec "$container" bash -c 'kill "$(pgrep -x containerd)"; while pgrep -x containerd; do sleep 0.1; done' >/dev/null
  docker commit -c "LABEL $LABEL=$1" -c 'ENTRYPOINT ["/usr/local/bin/entrypoint", "/sbin/init"]' -c 'CMD []' \
    "$container" "$NODE_IMAGE" >/dev/null
  docker rm -fv "$container" >/dev/null
}
