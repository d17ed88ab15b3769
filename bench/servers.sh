#!/usr/bin/env bash
# Brokers for the bench that run in processes of their own.
#
#   servers.sh install          fetches them: Debian packages, as root; Kafka and ElasticMQ with Maven, if it is there
#   servers.sh run COMMAND...   starts those that are found, runs the command, stops them
#
# Everything listens on the loopback device only and keeps its data in one
# directory below ${TMPDIR:-/tmp}, which is removed at the end. The bench learns
# about each server from a variable: "address pid directory version".
set -euo pipefail

cache=${XDG_CACHE_HOME:-$HOME/.cache}/pebblemq-bench
kafka_version=3.9.1
elasticmq_version=1.6.12

say() { echo "servers.sh: $*" >&2; }

install_debian() {
	local quiet=/usr/sbin/policy-rc.d
	if [ ! -e $quiet ]; then # packages must not start their services
		printf '#!/bin/sh\nexit 101\n' >$quiet
		chmod 755 $quiet
		trap "rm -f $quiet" EXIT
	fi
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends rabbitmq-server redis-server postgresql >&2
}

# fetch_jars DIR GROUP:ARTIFACT:VERSION gets a jar and all that it needs.
fetch_jars() {
	local dir=$1 group artifact version
	IFS=: read -r group artifact version <<<"$2"
	[ -e "$dir/done" ] && return
	mkdir -p "$dir"
	cat >"$dir/pom.xml" <<-POM
		<project><modelVersion>4.0.0</modelVersion><groupId>bench</groupId><artifactId>bench</artifactId><version>1</version>
		<dependencies><dependency><groupId>$group</groupId><artifactId>$artifact</artifactId><version>$version</version></dependency></dependencies>
		</project>
	POM
	(cd "$dir" && mvn -q -B dependency:copy-dependencies -DoutputDirectory="$dir/jars") >&2 && touch "$dir/done"
}

install() {
	install_debian
	if command -v mvn >/dev/null && command -v java >/dev/null; then
		fetch_jars "$cache/kafka-$kafka_version" "org.apache.kafka:kafka_2.13:$kafka_version" || say "no Kafka"
		fetch_jars "$cache/elasticmq-$elasticmq_version" "org.elasticmq:elasticmq-server_2.13:$elasticmq_version" || say "no ElasticMQ"
	else
		say "no Java or no Maven, so no Kafka and no ElasticMQ"
	fi
}

dir=
groups=() # leaders of the process groups that were started

stop() {
	trap - EXIT INT TERM
	local g i
	for g in "${groups[@]}"; do kill -TERM -- "-$g" 2>/dev/null || true; done
	for i in $(seq 100); do
		local alive=
		for g in "${groups[@]}"; do kill -0 -- "-$g" 2>/dev/null && alive=1; done
		[ -z "$alive" ] && break
		sleep 0.1
	done
	for g in "${groups[@]}"; do kill -KILL -- "-$g" 2>/dev/null || true; done
	# Erlang's name server is a daemon and refuses to go before its nodes.
	[ -n "${epmd_port:-}" ] && ERL_EPMD_PORT=$epmd_port epmd -kill >/dev/null 2>&1 || true
	[ -n "$dir" ] && rm -rf "$dir"
}

# start NAME COMMAND... runs a server in a process group of its own, which a
# signal reaches as a whole.
start() {
	local name=$1
	shift
	setsid "$@" >"$dir/$name.log" 2>&1 </dev/null &
	started=$!
	groups+=("$started")
}

port() { # one that nothing listens on
	local p
	while :; do
		p=$((20000 + RANDOM % 12000))
		(exec 3<>"/dev/tcp/127.0.0.1/$p") 2>/dev/null || break
	done
	echo $p
}

# answers PORT waits for a minute until something listens.
answers() {
	local i
	for i in $(seq 600); do
		(exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null && return
		sleep 0.1
	done
	return 1
}

start_redis() {
	command -v redis-server >/dev/null || return 0
	local p
	p=$(port)
	mkdir "$dir/redis"
	start redis redis-server --bind 127.0.0.1 --port "$p" --dir "$dir/redis" --save "" --appendonly yes --daemonize no
	answers "$p" || { say "Redis does not start"; return 0; }
	export BENCH_REDIS="127.0.0.1:$p $started $dir/redis $(redis-server --version | sed -E 's/.* v=([^ ]+).*/\1/')"
}

start_rabbitmq() {
	local server=/usr/lib/rabbitmq/bin/rabbitmq-server p
	[ -x $server ] || return 0
	p=$(port)
	epmd_port=$(port)
	mkdir "$dir/rabbitmq"
	# Without busy waiting its schedulers leave the processor to the others.
	start rabbitmq env HOME="$dir/rabbitmq" ERL_EPMD_PORT="$epmd_port" ERL_EPMD_ADDRESS=127.0.0.1 \
		RABBITMQ_NODENAME=bench@localhost RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 RABBITMQ_NODE_PORT="$p" \
		RABBITMQ_DIST_PORT="$(port)" RABBITMQ_MNESIA_BASE="$dir/rabbitmq/data" RABBITMQ_LOG_BASE="$dir/rabbitmq" \
		RABBITMQ_PID_FILE="$dir/rabbitmq/pid" RABBITMQ_ENABLED_PLUGINS_FILE="$dir/rabbitmq/plugins" \
		RABBITMQ_CONFIG_FILE="$dir/rabbitmq/none" RABBITMQ_CONF_ENV_FILE="$dir/rabbitmq/none" \
		RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="+sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1}" \
		$server
	answers "$p" || { say "RabbitMQ does not start"; return 0; }
	local version
	version=$(dpkg-query -W -f '${Version}' rabbitmq-server 2>/dev/null || echo unknown)
	export BENCH_RABBITMQ="127.0.0.1:$p $(cat "$dir/rabbitmq/pid") $dir/rabbitmq/data $version"
}

start_postgres() {
	local bin as=() p
	bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1)
	[ -n "$bin" ] || return 0
	mkdir "$dir/postgres"
	if [ "$(id -u)" = 0 ]; then # it refuses to be root
		id postgres >/dev/null 2>&1 || return 0
		chown postgres "$dir/postgres"
		as=(runuser -u postgres --)
	fi
	p=$(port)
	"${as[@]}" "$bin/initdb" -D "$dir/postgres/data" -U bench --auth=trust -E UTF8 --locale=C >"$dir/initdb.log" 2>&1
	start postgres "${as[@]}" "$bin/postgres" -D "$dir/postgres/data" -c listen_addresses=127.0.0.1 -c port="$p" \
		-c unix_socket_directories= -c max_connections=200
	answers "$p" || { say "PostgreSQL does not start"; return 0; }
	local i
	for i in $(seq 100); do [ -s "$dir/postgres/data/postmaster.pid" ] && break; sleep 0.1; done
	export BENCH_POSTGRES="127.0.0.1:$p $(head -1 "$dir/postgres/data/postmaster.pid") $dir/postgres/data $("$bin/postgres" --version | awk '{print $3}')"
}

start_kafka() {
	local jars=$cache/kafka-$kafka_version/jars p c
	command -v java >/dev/null && [ -e "$cache/kafka-$kafka_version/done" ] || return 0
	p=$(port)
	c=$(port)
	mkdir "$dir/kafka"
	cat >"$dir/kafka/server.properties" <<-CONF
		process.roles=broker,controller
		node.id=1
		controller.quorum.voters=1@127.0.0.1:$c
		listeners=PLAINTEXT://127.0.0.1:$p,CONTROLLER://127.0.0.1:$c
		advertised.listeners=PLAINTEXT://127.0.0.1:$p
		controller.listener.names=CONTROLLER
		log.dirs=$dir/kafka/data
		offsets.topic.replication.factor=1
		offsets.topic.num.partitions=1
		transaction.state.log.replication.factor=1
		transaction.state.log.min.isr=1
		group.initial.rebalance.delay.ms=0
	CONF
	java -cp "$jars/*" kafka.tools.StorageTool format -t MkU3OEVBNTcwNTJENDM2Qk -c "$dir/kafka/server.properties" >"$dir/kafka-format.log" 2>&1 ||
		{ say "Kafka does not start"; return 0; }
	start kafka java -Xms512m -Xmx1g -XX:+UseG1GC -cp "$jars/*" kafka.Kafka "$dir/kafka/server.properties"
	answers "$p" || { say "Kafka does not start"; return 0; }
	export BENCH_KAFKA="127.0.0.1:$p $started $dir/kafka/data $kafka_version"
}

start_elasticmq() {
	local jars=$cache/elasticmq-$elasticmq_version/jars p
	command -v java >/dev/null && [ -e "$cache/elasticmq-$elasticmq_version/done" ] || return 0
	p=$(port)
	mkdir "$dir/elasticmq"
	cat >"$dir/elasticmq/bench.conf" <<-CONF
		include classpath("application.conf")
		node-address { protocol = http, host = localhost, port = $p, context-path = "" }
		rest-sqs { enabled = true, bind-port = $p, bind-hostname = "127.0.0.1", sqs-limits = strict }
		rest-stats { enabled = false }
		messages-storage { enabled = true, uri = "jdbc:h2:$dir/elasticmq/data" }
	CONF
	start elasticmq java -Xmx1g -Dconfig.file="$dir/elasticmq/bench.conf" -cp "$jars/*" org.elasticmq.server.Main
	answers "$p" || { say "ElasticMQ does not start"; return 0; }
	export BENCH_ELASTICMQ="127.0.0.1:$p $started $dir/elasticmq $elasticmq_version"
}

run() {
	[ $# -gt 0 ] || { say "run what?"; exit 2; }
	dir=$(mktemp -d "${TMPDIR:-/tmp}/pebblemq-servers-XXXXXX")
	chmod 711 "$dir"
	trap stop EXIT
	trap 'exit 130' INT TERM
	start_redis
	start_rabbitmq
	start_postgres
	start_kafka
	start_elasticmq
	for v in BENCH_REDIS BENCH_RABBITMQ BENCH_POSTGRES BENCH_KAFKA BENCH_ELASTICMQ; do
		[ -n "${!v:-}" ] && say "$v=${!v}" || say "$v: missing"
	done
	"$@"
}

case ${1:-} in
install) install ;;
run) shift; run "$@" ;;
*) sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
