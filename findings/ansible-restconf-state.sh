#!/bin/sh
# Ansible's restconf_config sends each PUT and PATCH again, and says "changed", beside any leaf of state.
#
# Version: ansible.netcommon 7.2.0 as in ansible 11.6.0 (PyPI), ansible-core 2.18.19.
# The standard: RFC 8040, clause 4.8.1: a GET without `content` answers with configuration and state;
#   `content=config` answers with the configuration alone, with which a wanted one can be compared.
# Seen: a server with one list entry, as the task wants it. If the entry has configuration alone, the
#   task is not changed, and nothing is written. If it has one leaf of state as well, the task is changed,
#   and a PUT or PATCH is sent, at each run. The module's GET has no `content`.
# Output: configuration alone: changed False, GET
#   with a leaf of state: changed True, GET PUT; with patch: changed True, GET PATCH
# For a KMS: lists of ETSI GS QKD 015 have state in each entry (qkdl_status, app_status …), so a play
#   never settles: each run writes again, and raises the revision. Ask first with restconf_get and
#   `content: config`, and write only what differs.
# Needs: python3.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check --no-compile ansible==11.6.0 ansible-core==2.18.19
cat > serve.py <<'END'
import http.server
import json
import sys
import threading

STATE = {"config": {}, "state": {"status": "up"}, "again": {"status": "up"}}
seen = open("seen", "a", buffering=1)


class Server(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, body=None):
        octets = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/yang-data+json")
        self.send_header("Content-Length", str(len(octets)))
        self.end_headers()
        self.wfile.write(octets)

    def do_GET(self):
        kind = self.path.partition("?")[0].rpartition("/")[2]
        seen.write(f"{kind} GET {self.path.partition('?')[2]}\n")
        self.answer(200, {"probe:entry": [{"id": "1", "enabled": True} | STATE[kind]]})

    def do_PUT(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        seen.write(f"{self.path.rpartition('/')[2]} {self.command}\n")
        self.answer(204)

    do_PATCH = do_PUT

    def log_message(self, *_):
        pass


made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
print(made.server_address[1], flush=True)
threading.Thread(target=made.serve_forever, daemon=True).start()
sys.stdin.read()
END
mkfifo hold
sleep 600 > hold &
holder=$!
venv/bin/python serve.py < hold > port &
server=$!
trap 'kill "$holder" "$server" 2> /dev/null || true; rm -rf "$work"' EXIT
tries=0
until [ -s port ]; do
  tries=$((tries + 1))
  [ "$tries" -lt 100 ] || exit 1
  sleep 0.1
done
cat > inventory.json <<END
{"all": {"hosts": {"probe": {
  "ansible_connection": "ansible.netcommon.httpapi",
  "ansible_network_os": "ansible.netcommon.restconf",
  "ansible_host": "127.0.0.1",
  "ansible_httpapi_port": $(cat port),
  "ansible_httpapi_use_ssl": false,
  "ansible_httpapi_use_proxy": false,
  "ansible_user": "nobody",
  "ansible_password": "none"}}}}
END
cat > play.json <<'END'
[{"hosts": "all", "gather_facts": false, "tasks": [
  {"ansible.netcommon.restconf_config": {"path": "/data/probe:top/config", "method": "put",
    "content": "{\"probe:entry\": [{\"id\": \"1\", \"enabled\": true}]}"}},
  {"ansible.netcommon.restconf_config": {"path": "/data/probe:top/state", "method": "put",
    "content": "{\"probe:entry\": [{\"id\": \"1\", \"enabled\": true}]}"}},
  {"ansible.netcommon.restconf_config": {"path": "/data/probe:top/again", "method": "patch",
    "content": "{\"probe:entry\": [{\"id\": \"1\", \"enabled\": true}]}"}}]}]
END
PATH="$work/venv/bin:$PATH" HOME="$work" LC_ALL=C.UTF-8 ANSIBLE_STDOUT_CALLBACK=ansible.posix.json \
  ansible-playbook -i inventory.json play.json > said.json < /dev/null
cat > tell.py <<'END'
import json

(play,) = json.load(open("said.json"))["plays"]
seen = [line.split() for line in open("seen")]
for task, kind in zip(play["tasks"], ("config", "state", "again")):
    verbs = " ".join(" ".join(rest) for path, *rest in seen if path == kind)
    print(kind, "changed", task["hosts"]["probe"]["changed"], verbs)
END
venv/bin/python tell.py > out
cat out
cat > stated <<'END'
config changed False GET
state changed True GET PUT
again changed True GET PATCH
END
if cmp -s out stated; then
  echo "as stated"
else
  echo "changed: it is no longer as stated" >&2
  exit 1
fi
