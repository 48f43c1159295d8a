#!/bin/sh
# yapyang writes a boolean as "True", which is no value of YANG's boolean.
#
# Version: yapyang 0.2.0 from PyPI (classes for a YANG model, written as XML for NETCONF).
# The standard: RFC 7950, clause 9.5.1: the values are "true" and "false", in lower case. ETSI GS QKD
#   015 V2.1.1 has booleans that a controller writes: qkdl_enable switches a link on.
# Seen: a leaf whose annotated type is bool, given True, comes out as True. yangson 1.7.9 refuses this
#   XML for a model with `type boolean`, and takes it with "true".
# Output: <link xmlns="urn:example:link"><enable>True</enable></link>: refused by yangson
# For a KMS: a NETCONF controller that uses it gets invalid-value for each link that it switches. Give
#   the leaf the text "true". An agent should name the leaf and the value it refused.
# Needs: python3.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check yapyang==0.2.0 yangson==1.7.9
cat > example-link.yang <<'END'
module example-link {
  yang-version 1.1;
  namespace "urn:example:link";
  prefix el;
  container link {
    leaf enable {
      type boolean;
    }
  }
}
END
cat > probe.py <<'END'
import sys
import xml.etree.ElementTree as ElementTree

from yangson import DataModel
from yapyang import ContainerNode, LeafNode, ModuleNode

LIBRARY = """{"ietf-yang-library:modules-state": {"module-set-id": "1", "module": [
  {"name": "example-link", "revision": "", "namespace": "urn:example:link",
   "conformance-type": "implement"}]}}"""


class Enable(LeafNode):
    value: bool


class Link(ContainerNode):
    enable: Enable


class ExampleLink(ModuleNode):
    __namespace__ = "urn:example:link"
    link: Link


model = DataModel(LIBRARY, (".",))


def judge(text):
    root = ElementTree.fromstring(f"<data>{text}</data>")
    try:
        model.from_xml(root).validate()
    except Exception as error:
        return f"refused, {type(error).__name__}"
    return "accepted"


written = ExampleLink(Link(Enable(True))).to_xml()
corrected = written.replace("True", "true")
print(written, judge(written))
print(corrected, judge(corrected))
as_stated = (
    "<enable>True</enable>" in written
    and judge(written).startswith("refused")
    and judge(corrected) == "accepted"
)
print("as stated" if as_stated else "changed: it no longer does as stated")
sys.exit(not as_stated)
END
venv/bin/python probe.py
