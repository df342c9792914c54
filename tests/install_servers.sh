#!/bin/sh
# Installs the servers that the tests start for real, where root and apt are there. Elsewhere it says what to do.
set -u
missing=""
[ -n "$(ls -d /usr/lib/postgresql/*/bin/initdb 2>/dev/null)" ] || missing="$missing postgresql"
command -v chromium >/dev/null 2>&1 || missing="$missing chromium"
command -v promtool >/dev/null 2>&1 || missing="$missing prometheus"
command -v amtool >/dev/null 2>&1 || missing="$missing prometheus-alertmanager"
[ -z "$missing" ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "installing for the tests:$missing"
    # Debian starts a server at installation; the tests start their own, so nothing is started here.
    policy=/usr/sbin/policy-rc.d
    made_policy=""
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy" && made_policy=yes
    fi
    # shellcheck disable=SC2086
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing; } \
        >/tmp/trainguard-apt.log 2>&1
    status=$?
    [ -n "$made_policy" ] && rm -f "$policy"
    if [ "$status" -ne 0 ]; then
        echo "could not install$missing; the end of apt's output:" && tail -n 5 /tmp/trainguard-apt.log
        [ "${CI:-}" = true ] && exit 1
    fi
    exit 0
fi
echo "not installed:$missing. Their tests are skipped; install them with your package manager to run all tests."
[ "${CI:-}" = true ] && exit 1
exit 0
