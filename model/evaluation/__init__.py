"""Skill: metrics, floors to compare with, and how sure a score is."""
