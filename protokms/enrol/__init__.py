"""Enrolment: keys, certificates and the directory, made and changed for any network."""
