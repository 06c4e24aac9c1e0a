"""Figures."""


def draw_all(folder, name):
    return {}
