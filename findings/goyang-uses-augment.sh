#!/bin/sh
# goyang loses, in silence, the leaves that a `uses` adds to its grouping with `augment`.
#
# Version: github.com/openconfig/goyang v1.6.3, the YANG front end of Go (ygot builds on it).
# The standard: RFC 7950 (and RFC 6020), clause 7.13.2 and 7.17: `augment` inside `uses` adds nodes
#   to those that the grouping brings in. ETSI GS QKD 015 V2.1.1 adds clients_shared_path_enable and
#   clients_shared_keys_required to an application's app_qos in this way.
# Seen: the tree has the leaf of the grouping (ttl) and not the added one (shared-keys); exit code 0,
#   no message. pyang 2.7.1 shows both for the same file.
# Output: goyang: ttl; pyang: ttl, shared-keys.
# For a KMS: a controller in Go whose structures come from goyang (ygot) does not know two leaves of
#   015 and refuses an application of a node that sends them ("JSON contains unexpected field"). They
#   have defaults: an agent that leaves out leaves that have their default value (RFC 8040, clause
#   4.8.9, "trim") is read by it.
# Needs: go, python3.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

GOBIN=$work go install github.com/openconfig/goyang@v1.6.3
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check pyang==2.7.1

cp "$here/example-qkd-app.yang" .
./goyang --format=tree example-qkd-app.yang > go.tree
venv/bin/pyang --format tree example-qkd-app.yang > py.tree
echo "goyang: $(grep -oE 'ttl|shared-keys' go.tree | tr '\n' ' ')"
echo "pyang:  $(grep -oE 'ttl|shared-keys' py.tree | tr '\n' ' ')"
if grep -q ttl go.tree && ! grep -q shared-keys go.tree && grep -q shared-keys py.tree; then
  echo "as stated: goyang leaves out the leaf added in the uses"
else
  echo "changed: goyang's tree is no longer as stated" >&2
  exit 1
fi
