"""Adopts a database of agent_com, the REST broker that Tandem is the successor of.

Its tables move, as they are, to the schema `agent_com_before`. Its rows are copied to the tables
that migration 003 creates, and the migrations after 003 do the rest. The way back drops the tables
of Tandem and moves those of agent_com back. Imports go one way:

    conversion · examination
    findings
    source
    tables
"""
