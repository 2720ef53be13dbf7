# shellcheck shell=bash
# Small functions shared by every verb.

say() { printf '%s\n' "lab: $*" >&2; }
die() { say "$*"; exit 1; }

# timed FUNCTION [ARGUMENT...]: runs it and reports how long it took.
timed() {
  local start=$SECONDS
  "$@"
  say "$1 took $((SECONDS - start)) s"
}

# retry SECONDS COMMAND...: until it succeeds or the time is over.
retry() {
  local end=$((SECONDS + $1)); shift
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$end" ] || return 1
    sleep 1
  done
}

# watched WHAT LOG COMMAND...: runs a long command, its output in LOG, and says every half minute how far the log is.
watched() {
  local what=$1 log=$2 start=$SECONDS pid next=30
  shift 2
  "$@" >"$log" 2>&1 &
  pid=$!
  while kill -0 "$pid" 2>/dev/null; do
    sleep 0.5
    [ $((SECONDS - start)) -lt "$next" ] || { say "$what: $next s, $(wc -l <"$log") lines in $log"; next=$((next + 30)); }
  done
  wait "$pid" || { tail -20 "$log" >&2; die "$what failed, see $log"; }
  say "$what took $((SECONDS - start)) s"
}

# is_stamped NAME VALUE: stamp NAME VALUE was the last word on NAME. A stamp says what a thing was made of.
is_stamped() { [ "$(cat "$CACHE/stamps/$1" 2>/dev/null)" = "$2" ]; }
stamp() { printf '%s\n' "$2" >"$CACHE/stamps/$1"; }
