#!/usr/bin/env bash
# Installs the brokers the tests run against, and the browser of the gateway's tests, as far as they are missing.
#
#   redis-server, rabbitmq-server, postgresql, chromium,       through apt, on Debian and Ubuntu (with sudo if not root)
#   Java 17, Maven
#   Kafka, ElasticMQ and the schema registry                   as jars, through Maven, into .brokers/ of the checkout
#   what apt and Maven do not have                             by install.py, into .brokers/
#
# BROKERKIT_TEST_VERSIONS chooses versions (see versions.py). A broker that a BROKERKIT_TEST_… variable names is left
# out, and a second run finds everything in place and ends at once. It needs .venv/, which `make` makes. moto comes with
# the Python packages.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
brokers=$(cd "$here/../.." && pwd)/.brokers
# Debian keeps servers out of the search path of ordinary users.
PATH=$PATH:/usr/local/sbin:/usr/sbin

say() { printf 'brokers: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }
has() { command -v "$1" >/dev/null; }

java_is_recent() {
  local java=java version
  [ -z "${JAVA_HOME:-}" ] || java=$JAVA_HOME/bin/java
  has "$java" || return 1
  version=$("$java" -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p')
  [ "${version:-0}" -ge 17 ]
}

# What Maven is told, for a name.
pom() { if [ "$1" = registry ]; then echo "$here/registry.xml"; else echo "$here/pom.xml"; fi; }
jars_are_there() { cmp -s "$(pom "$1")" "$brokers/$1/pom.xml"; }

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# The tests start servers of their own, so a system service would only hold a port and some memory. A package asks
# policy-rc.d before it starts one: for the length of the installation, and where nobody has a policy, the answer is no.
policy=/usr/sbin/policy-rc.d
apt_install() {
  local ours='' status=0
  if [ ! -e "$policy" ]; then
    ours=yes
    trap 'as_root rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
  fi
  as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends -o Acquire::Retries=3 "$@" >/dev/null </dev/null || status=$?
  if [ -n "$ours" ]; then as_root rm -f "$policy"; trap - EXIT; fi
  return $status
}

# The default Java of older Ubuntus is too old for Kafka 4.
java_package() {
  local version
  version=$(apt-cache depends default-jre-headless 2>/dev/null | sed -n 's/.*openjdk-\([0-9]*\)-.*/\1/p' | head -1)
  if [ "${version:-0}" -ge 17 ]; then echo default-jre-headless; else echo openjdk-17-jre-headless; fi
}

left=$(cd "$here/../.." && .venv/bin/python -m tests.brokers.install) || exit 1
# The brokers wanted as jars. Where the list is used it is guarded: the bash of macOS takes an empty one for unset.
jars=()
programs=()
for name in $left; do
  case $name in
    kafka-*) jars+=("$name") ;;
    sqs-elasticmq) jars+=(elasticmq) ;;
    redis-system) has redis-server || programs+=(redis-server) ;;
    rabbitmq-system) has rabbitmq-server || programs+=(rabbitmq-server) ;;
  esac
done
[ -n "${BROKERKIT_TEST_REGISTRY:-}" ] || jars+=(registry)
[ -n "${BROKERKIT_TEST_POSTGRESQL:-}" ] || has postgres || ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 ||
  programs+=(postgresql)
has chromium || has chromium-browser || has google-chrome || programs+=(chromium)
[ ${#jars[@]} = 0 ] || java_is_recent || programs+=(java)
for name in ${jars[@]+"${jars[@]}"}; do
  jars_are_there "$name" || has mvn || { programs+=(maven); break; }
done

if [ ${#programs[@]} -gt 0 ]; then
  has apt-get || fail "install these by hand, then run this again: ${programs[*]} (Redis 7, RabbitMQ 3.10 or later, PostgreSQL 13 or later, Chromium, Java 17 or later, Maven 3.6 or later)"
  [ "$(id -u)" = 0 ] || has sudo || fail "install these as root, then run this again: ${programs[*]}"
  say "installing ${programs[*]}"
  as_root apt-get update -qq -o Acquire::Retries=3 </dev/null
  packages=()
  for program in "${programs[@]}"; do
    if [ "$program" = java ]; then packages+=("$(java_package)"); else packages+=("$program"); fi
  done
  apt_install "${packages[@]}" || fail "apt-get could not install ${packages[*]}: install them by hand, then run this again"
  [ ${#jars[@]} = 0 ] || java_is_recent || fail "the java on your path is older than 17: set JAVA_HOME to a newer one, then run this again"
fi

# Java has a list of certificate authorities of its own; a company's, which the rest of the machine trusts, may be
# missing there. A second try goes by the machine's list, unless somebody has told Java which one to use.
trust_what_the_machine_trusts() {
  local bundle=${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}
  case "${MAVEN_OPTS:-} ${JAVA_TOOL_OPTIONS:-}" in *javax.net.ssl.trustStore=*) return ;; esac
  [ -r "$bundle" ] && python3 "$here/_truststore.py" "$bundle" "$brokers/truststore.jks" || return 0
  export MAVEN_OPTS="${MAVEN_OPTS:-} -Djavax.net.ssl.trustStore=$brokers/truststore.jks"
}

download() {
  local profile=()
  [ "$1" = registry ] || profile=(-P "${1%%-*}")
  mvn -q -B -ntp -Dstyle.color=never -U -f "$(pom "$1")" ${profile[@]+"${profile[@]}"} -Dkafka.version="${1#*-}" dependency:copy-dependencies \
    -DincludeScope=runtime -DoutputDirectory="$brokers/$1.part" >"$brokers/$1.log" 2>&1 </dev/null
}

# The archive of the registry is all of it.
unpack_registry() { tar -xzf "$1"/*.tar.gz -C "$1" && rm "$1"/*.tar.gz; }

are_the_known_files() { (cd "$here/../.." && .venv/bin/python -m tests.brokers.sums "$1" "$brokers/$1.part"); }

mkdir -p "$brokers"
for name in ${jars[@]+"${jars[@]}"}; do
  jars_are_there "$name" && continue
  say "downloading $name"
  rm -rf "${brokers:?}/$name" "$brokers/$name.part"
  tries=4
  until download "$name"; do
    tries=$((tries - 1))
    [ $tries -gt 0 ] || { cat "$brokers/$name.log" >&2; fail "Maven could not download $name: its error is above; run this again when that is mended"; }
    say "the download failed, trying again"
    trust_what_the_machine_trusts
    sleep 3
  done
  are_the_known_files "$name" || fail "the files of $name are left in .brokers/$name.part: compare them, and remove them"
  [ "$name" != registry ] || unpack_registry "$brokers/$name.part"
  # The copy of the pom says which versions are there; it comes last, so that half a download does not count.
  cp "$(pom "$name")" "$brokers/$name.part/pom.xml"
  mv "$brokers/$name.part" "$brokers/$name"
  rm -f "$brokers/$name.log"
done
