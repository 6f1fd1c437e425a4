"""The command ``check``: any number of models, held against what their project says and what was found before."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rfgraph.cli.asked import analyzed, settings_of, settled
from rfgraph.cli.refusals import refusal, refuse
from rfgraph.cli.several import each_model

if TYPE_CHECKING:
    from rfgraph.baseline import Baseline
    from rfgraph.present.checks import Checks
    from rfgraph.present.findings import Check
    from rfgraph.present.rows import View
    from rfgraph.settings import Settings

CLEAN, FOUND = 0, 1

#: What the reason why something is not known speaks of -> the option for it.
WAYS_OUT = {
    "input size": "give an input size, as --input-size 224",
    "treat=": "say what it reads, as --treat NODE=identity (or global, or cut)",
}


def check(options: argparse.Namespace) -> tuple[View | Checks, int]:
    """Check all models that are named; the exit code is the worst of theirs."""
    from rfgraph.cli.targets import expanded
    from rfgraph.present.checks import CI_FORMS, Checks
    from rfgraph.settings import read_settings

    baseline = None
    if options.baseline is not None:
        from rfgraph.baseline import read_baseline

        baseline = read_baseline(options.baseline)
    project = read_settings(Path.cwd())
    models = expanded(options.models)
    alone = len(models) == 1
    checks: dict[str, Check] = {}
    errors: dict[str, str] = {}
    worst = CLEAN
    try:
        for outcome in each_model(models, options, lambda one: (_check(one, project, baseline, alone), CLEAN)):
            if outcome.answer is None:
                errors[outcome.model] = outcome.error
            else:
                checks[outcome.model] = outcome.answer
            worst = max(worst, outcome.code)
    except Exception as error:  # of the only model; what CI reads tells it too
        if options.format not in CI_FORMS:
            raise
        said, worst = refusal(error)[0], refuse(error, options.verbose)
        errors[models[0]] = said
    fail_on = options.fail_on or project.fail_on
    view = Checks(options.command, checks, errors, fail_on)
    if any(map(view.fails, checks)) and not options.exit_zero:
        worst = max(worst, FOUND)
    if len(checks) == 1 and not errors and options.format not in CI_FORMS:
        return next(iter(checks.values())), worst
    return view, worst


def _check(options: argparse.Namespace, project: Settings, baseline: Baseline | None, alone: bool) -> Check:
    from rfgraph.policy import judge
    from rfgraph.present.findings import Check
    from rfgraph.questions.findings import worst_first

    settings = settings_of(options, project)
    report = analyzed(settled(options, settings))
    findings = list(report.findings)
    rules = settings.policy.rules
    if rules & {"RF009", "RF010"}:
        findings += report.asked(rules, settings.causal_axis)
    if settings.budget.rules:
        findings += report.over(settings.budget, settings.causal_axis)
    known = None if baseline is None else baseline.of(options.model, alone)
    judged = judge(worst_first(findings), settings.policy, *([] if known is None else [known.has]))
    return Check(report, judged, options.model, WAYS_OUT, options.all, known)
