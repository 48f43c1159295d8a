#!/bin/sh
# restconf-cli says of a PUT that created something that it failed, and ends with 0 whatever came.
#
# Version: restconf-cli 0.1.5 from PyPI.
# The standard: RFC 8040, clause 4.5: a PUT that creates the resource is answered 201, one that replaces
#   it 204. Clause 4.6: a successful PATCH is answered 200 or 204.
# Seen: the tool takes 204 alone for a success of PUT and of PATCH: 201 and 200 are "Request Failed".
#   Its exit code is 0 in each case, for a 400 too, and the body of a refusal is not shown.
# Output: PUT 201: Request Failed: <Response [201]>, exit code 0
#   PATCH 200: Request Failed: <Response [200]>, exit code 0; PUT 400: the same with 400
# For a KMS: an operator who makes a link of ETSI GS QKD 015 with PUT reads that it failed, and makes it
#   again (204, "created/updated successfully"); a script sees no difference between a link made and a
#   link refused. Read the state back with GET; the agent is right to answer 201.
# Needs: python3, openssl.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check restconf-cli==0.1.5
cat > answers.json <<'END'
{"/link=new": [201, null], "/link=old": [204, null], "/link=patched": [200, {}],
 "/link=bad": [400, {"ietf-restconf:errors": {"error": [
   {"error-type": "application", "error-tag": "invalid-value"}]}}]}
END
cat > ask.sh <<'END'
ask() {
  code=0
  venv/bin/restconf-cli "$1" --hostname localhost --port "$PORT" --username operator \
    --password example --path "example-link:links/link=$2" --data '{}' > answer || code=$?
  echo "$1 $2: $(grep -E 'Failed|success' answer), exit code $code"
}
ask PUT new
ask PUT old
ask PATCH patched
ask PUT bad
END
CLIENT_CERTIFICATE=optional python3 "$here/kme.py" . sh ask.sh > out
cat out
cat > stated <<'END'
PUT new: Request Failed: <Response [201]>, exit code 0
PUT old: Resource has been created/updated successfully: 204 OK, exit code 0
PATCH patched: Request Failed: <Response [200]>, exit code 0
PUT bad: Request Failed: <Response [400]>, exit code 0
END
if cmp -s out stated; then
  echo "as stated"
else
  echo "changed: the tool no longer does as stated" >&2
  exit 1
fi
