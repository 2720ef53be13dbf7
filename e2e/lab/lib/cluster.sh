# shellcheck shell=bash disable=SC2153
# Makes, fills and deletes the kind cluster.

print_env() {
  echo "export PATH=$BIN:\$PATH"
  echo "export KUBECONFIG=$KUBECONFIG"
}

cluster() {
  egress_rules
  if cluster_exists && ! cluster_answers; then
    say "cluster $CLUSTER is not as it was made (the Docker daemon was stopped?) or of an older image: making it anew"
    delete_cluster
  fi
  if cluster_exists; then
    kind export kubeconfig -q --name "$CLUSTER"
  else
    create_cluster
  fi
  kubectl wait --for=condition=Ready node --all --timeout=180s >/dev/null
  kubectl -n kube-system rollout status deployment/coredns --timeout=180s >/dev/null
}

cluster_exists() { kind get clusters 2>/dev/null | grep -qx -- "$CLUSTER"; }

# The API server answers, and every node runs, is of the present image and has the address that it joined with: after a
# stop of the Docker daemon nodes come back with each other's.
cluster_answers() {
  local node joined
  kind export kubeconfig -q --name "$CLUSTER" && retry 20 kubectl get --raw /readyz --request-timeout=5s || return 1
  for node in $(kind get nodes -q --name "$CLUSTER"); do
    joined=$(kubectl get node "$node" -o jsonpath='{.status.addresses[?(@.type=="InternalIP")].address}')
    [ "$(docker inspect -f '{{.State.Running}} {{.NetworkSettings.Networks.kind.IPAddress}}' "$node")" = "true $joined" ] || return 1
    ! images_are_made_here || [ "$(image_id "$node")" = "$(docker image inspect -f '{{.Id}}' "$NODE_IMAGE")" ] || return 1
  done
}

image_id() { docker inspect -f '{{.Image}}' "$1"; }

create_cluster() {
  local config=$CACHE/kind.yaml image=()
  cp "$LAB_DIR/manifests/kind.yaml" "$config"
  if images_are_made_here; then
    cat "$LAB_DIR/manifests/kind-patches.yaml" >>"$config"
    image=(--image "$NODE_IMAGE")
  fi
  say "making cluster $CLUSTER: four nodes, about a minute"
  rm -f "$CACHE/stamps/loaded-$CLUSTER"-*
  if ! kind create cluster -q --name "$CLUSTER" "${image[@]}" --config "$config" --wait 180s; then
    delete_cluster
    die "kind could not make the cluster"
  fi
  images_are_made_here || load "${WORKLOAD_IMAGES[@]}"
}

delete_cluster() {
  kind delete cluster -q --name "$CLUSTER"
  rm -f "$KUBECONFIG" "$CACHE/stamps/loaded-$CLUSTER"-*
}

# The next run asks again whether an image registry answers.
down() {
  [ ! -x "$BIN/kind" ] || ! cluster_exists || delete_cluster
  rm -f "$CACHE/images-from"
}

# load IMAGE...: those whose content this cluster does not have, onto the workers, which is where pods run. Prints the
# names of those it loaded.
load() {
  local name id stamp
  [ $# -gt 0 ] || die "load needs the names of images"
  for name in "$@"; do
    stamp=loaded-$CLUSTER-${name//[\/:]/_}
    id=$(docker image inspect -f '{{.Id}}' "$name") || die "there is no image $name: make images"
    if is_stamped "$stamp" "$id"; then continue; fi
    kind load docker-image -q --name "$CLUSTER" --nodes "$(workers)" "$name"
    stamp "$stamp" "$id"
    echo "$name"
  done
}

workers() { kind get nodes -q --name "$CLUSTER" | grep -v control-plane | paste -sd,; }
