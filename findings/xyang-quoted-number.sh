#!/bin/sh
# xyang cannot read a module of YANG version 1, nor a number in quotes.
#
# Version: xyang 0.1.7 from PyPI (JSON checked against YANG, without other dependencies).
# The standard: RFC 7950, clause 6.1.3: the argument of a statement may stand in quotes or not, the
#   meaning is the same. RFC 6020, clause 7.1.2: the version is 1; RFC 7950, clause 12: a module of
#   version 1.1 may import one of version 1. Both modules of ETSI GS QKD 015 V2.1.1 say
#   `yang-version "1"`; the ietf-inet-types they import (RFC 6991) have enumeration values in quotes.
# Seen: `yang-version 1` is refused with and without quotes, `1.1` is taken; `value "1"` of an enum is
#   refused, `value 1` is taken. pyang 2.7.1 takes all four.
# Output: Expected one of (IDENTIFIER, DOTTED_NUMBER), got 'STRING' (and 'INTEGER' without quotes);
#   Expected INTEGER, got STRING ('1').
# For a KMS: the answers of a node cannot be judged with it against 015's own files; for YANG of one's
#   own, write version 1.1 and bare numbers.
# Needs: python3.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check xyang==0.1.7 pyang==2.7.1

module="$here/example-qkd-app.yang"
cp "$module" given.yang
sed 's/yang-version "1"/yang-version 1/' given.yang > bare.yang
sed 's/yang-version "1"/yang-version 1.1/' given.yang > values.yang
sed 's/value "\([12]\)"/value \1/' values.yang > plain.yang
for name in given bare values plain; do
  venv/bin/pyang --lax-quote-checks "$name.yang" > "$name.pyang" 2>&1 ||
    { cat "$name.pyang" >&2; exit 1; }
  venv/bin/xyang parse "$name.yang" > "$name.log" 2>&1 || true
  echo "$name: $(grep -oE 'Expected .*|^Module.*' "$name.log" | head -1)"
done
if grep -q "DOTTED_NUMBER.*'STRING'" given.log && grep -q "DOTTED_NUMBER.*'INTEGER'" bare.log &&
  grep -q "Expected INTEGER, got STRING" values.log && ! grep -q Expected plain.log; then
  echo "as stated"
else
  echo "changed: xyang no longer behaves as stated" >&2
  exit 1
fi
