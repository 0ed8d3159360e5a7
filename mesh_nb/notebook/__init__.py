"""Magics, widgets and static output."""
