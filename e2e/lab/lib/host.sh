# shellcheck shell=bash disable=SC2153
# Prepares the host: packages, the runtime wrapper, dockerd, the egress rule.

RUNTIME_WRAPPER=/usr/local/sbin/runc-bounded

deps() {
  rust_toolchain
  debian_packages jq iptables unzip musl-tools ca-certificates python3
  python3 -m pip --version >/dev/null 2>&1 || debian_packages python3-pip
  [ "$(id -u)" != 0 ] || bounded_runtime       # before docker.io, whose installation may start dockerd
  docker info >/dev/null 2>&1 || command -v dockerd >/dev/null || debian_packages docker.io
  docker_daemon
  remove_stale_containers
}

# The toolchain, components and targets of rust-toolchain.toml, also where rustup may not get them by itself. A Rust
# that did not come from rustup is taken as it is.
rust_toolchain() {
  command -v rustup >/dev/null || return 0
  (cd "$LAB_DIR/../.." && rustup toolchain install) >"$CACHE/log/rustup.log" 2>&1 ||
    { tail -5 "$CACHE/log/rustup.log" >&2; die "rustup toolchain install failed"; }
}

# Installs those of the named Debian packages that are missing.
debian_packages() {
  local package missing=()
  for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  [ "$(id -u)" = 0 ] || die "missing packages; as root: apt-get install ${missing[*]}"
  say "installing ${missing[*]}"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" \
    >"$CACHE/log/apt.log" 2>&1 || { tail -5 "$CACHE/log/apt.log" >&2; die "apt-get install ${missing[*]} failed"; }
}

# Succeeds when this process may not acquire some capability that the kernel knows.
bounding_set_is_reduced() {
  local last bounding
  last=$(cat /proc/sys/kernel/cap_last_cap)
  bounding=$((16#$(awk '/^CapBnd/ {print $2}' /proc/self/status)))
  [ "$bounding" -ne $(((1 << (last + 1)) - 1)) ]
}

# On a host with a reduced bounding set runc refuses privileged containers; the wrapper asks for less.
bounded_runtime() {
  bounding_set_is_reduced || return 0
  cmp -s "$LAB_DIR/node/runc-bounded" "$RUNTIME_WRAPPER" ||
    install -m 0755 "$LAB_DIR/node/runc-bounded" "$RUNTIME_WRAPPER"
  local config=/etc/docker/daemon.json old='{}' new
  [ ! -s "$config" ] || old=$(cat "$config")
  # shellcheck disable=SC2016
  new=$(jq -S --arg path "$RUNTIME_WRAPPER" \
    '.runtimes.bounded.path = $path | ."default-runtime" = "bounded"' <<<"$old")
  [ "$(jq -S . <<<"$old")" != "$new" ] || return 0
  mkdir -p "${config%/*}"
  printf '%s\n' "$new" >"$config"
}

docker_daemon() {
  docker info >/dev/null 2>&1 || start_docker
  [ "$(id -u)" = 0 ] && bounding_set_is_reduced || return 0
  # A daemon that was already running learns its default runtime on SIGHUP, without a restart.
  runtime_is_bounded || kill -HUP "$(cat /var/run/docker.pid)"
  retry 10 runtime_is_bounded || die "dockerd did not take up the runtime of /etc/docker/daemon.json"
}

runtime_is_bounded() { [ "$(docker info -f '{{.DefaultRuntime}}')" = bounded ]; }

start_docker() {
  [ "$(id -u)" = 0 ] || die "no Docker daemon answers; start one (as root: systemctl start docker) and let this user talk to it"
  say "starting dockerd"
  if [ -d /run/systemd/system ]; then
    systemctl start docker
  else
    remove_stale_pid_file
    setsid nohup dockerd >"$CACHE/log/dockerd.log" 2>&1 </dev/null &   # outlives this shell
  fi
  retry 60 docker info || die "dockerd does not answer, see $CACHE/log/dockerd.log"
}

# A daemon that was killed leaves its number behind, which may be another process's by now: dockerd would refuse to start.
remove_stale_pid_file() {
  local file=/var/run/docker.pid pid
  [ -s "$file" ] || return 0
  pid=$(cat "$file")
  [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = dockerd ] || rm -f "$file"
}

# Test containers of a run that was killed, or that stopped with the daemon.
remove_stale_containers() {
  local stale
  stale=$(docker ps -aq --filter label=org.testcontainers.managed-by=testcontainers --filter status=exited --filter status=dead)
  # shellcheck disable=SC2086
  [ -z "$stale" ] || docker rm -fv $stale >/dev/null
}

# No container may open a connection to anything outside its own bridge: tests never talk to the world.
egress_rules() {
  docker network inspect kind >/dev/null 2>&1 ||
    docker network create -d=bridge \
      -o com.docker.network.bridge.enable_ip_masquerade=true \
      -o com.docker.network.driver.mtu=1500 kind >/dev/null
  local bridge
  for bridge in docker0 "$(docker network inspect -f '{{printf "br-%.12s" .Id}}' kind)"; do
    egress_rule -C "$bridge" 2>/dev/null || egress_rule -I "$bridge"
  done
}

# egress_rule -C|-I BRIDGE: checks or inserts the rule.
egress_rule() { iptables "$1" DOCKER-USER -i "$2" ! -o "$2" -m conntrack --ctstate NEW -j REJECT; }
