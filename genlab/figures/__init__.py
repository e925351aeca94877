"""Figures and the report, from tables of runs and what was found in them; no model is ever needed."""

from genlab.figures.approaches import approaches
from genlab.figures.backtest import backtest
from genlab.figures.families import families
from genlab.figures.gallery import gallery, write_figures
from genlab.figures.isoflop import isoflop
from genlab.figures.law_fit import law_fit
from genlab.figures.loss_vs_compute import loss_vs_compute
from genlab.figures.report import write_report
from genlab.figures.response import response

__all__ = [
    "approaches",
    "backtest",
    "families",
    "gallery",
    "isoflop",
    "law_fit",
    "loss_vs_compute",
    "response",
    "write_figures",
    "write_report",
]
