#!/bin/sh
# ygot's generator refuses a module because of a notification at its top.
#
# Version: github.com/openconfig/ygot v0.36.0, generator of Go structures from YANG.
# The standard: RFC 7950 (and RFC 6020), clause 7.16: `notification` is a statement of a module.
#   ETSI GS QKD 015 V2.1.1 has eleven of them beside its one container.
# Seen: the generator ends with an error and writes no structures, though the container can be
#   generated: with -ignore_unsupported the same module gives them (without the notification).
# Output: unsupported statement type (Notification) in findMappableEntities for
#   /example-qkd-app/app-gone
# For a KMS: who writes a controller in Go from 015's own files needs that flag, and has no types for
#   the events of a node (link down, application new): these have to be read by hand.
# Needs: go.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

GOBIN=$work go install github.com/openconfig/ygot/generator@v0.36.0
cp "$here/example-qkd-app.yang" .
generate() {
  ./generator -path=. -package_name=app "$@" example-qkd-app.yang 2>&1
}
: > plain.go
: > flag.go
plain=0
generate -output_file=plain.go > plain.log || plain=$?
flag=0
generate -output_file=flag.go -ignore_unsupported > flag.log || flag=$?
cat plain.log
echo "exit codes: $plain, with -ignore_unsupported: $flag"
if [ "$plain" -ne 0 ] && grep -q 'unsupported statement type (Notification)' plain.log &&
  [ "$flag" -eq 0 ] && grep -q 'type ExampleQkdApp_Apps_App struct' flag.go; then
  echo "as stated: the notification alone stops the generator"
else
  echo "changed: the generator no longer does as stated" >&2
  exit 1
fi
