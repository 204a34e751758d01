"""What each alert must do on series that are made up: fire, with these labels, or be silent."""

from typing import Any, NamedTuple

_SERVICE = 'job="inference-service", instance="a"'
_MODEL = f'{_SERVICE}, model="m", version="1"'
_AT = {"job": "inference-service", "instance": "a"}
_OF_MODEL = {"job": "inference-service", "model": "m"}
_OF_VERSION = {**_AT, "model": "m", "version": "1"}


class Case(NamedTuple):
    """Values of series as promtool writes them, one each ``step`` minutes; when to look, in minutes;
    the labels of the alert that fires, None: it is silent."""

    alert: str
    what: str
    series: dict[str, str]
    minute: int
    labels: dict[str, str] | None
    step: int = 1


def _outcomes(ok: str, other: str, outcome: str = "execution_failed") -> dict[str, str]:
    name = f"inference_requests_total{{{_MODEL}"
    return {f'{name}, outcome="ok"}}': ok, f'{name}, outcome="{outcome}"}}': other}


def _durations(quick: str, all_: str) -> dict[str, str]:
    name = "inference_request_duration_seconds"
    return {f'{name}_bucket{{{_MODEL}, le="1.0"}}': quick, f"{name}_count{{{_MODEL}}}": all_}


def _gauge(name: str, values: str, more: str = "") -> dict[str, str]:
    return {f"inference_{name}{{{_MODEL}{more}}}": values}


def _own(name: str, values: str, more: str = "") -> dict[str, str]:
    return {f"{name}{{{_SERVICE}{more}}}": values}


_HOURS = 80  # of history, for the windows of three days
_LAG = {
    f'inference_event_loop_lag_seconds_bucket{{{_SERVICE}, le="{le}"}}': values
    for le, values in {"0.25": "0+1x30", "0.5": "0+2x30", "+Inf": "0+2x30"}.items()
}
_NO_LAG = {
    f'inference_event_loop_lag_seconds_bucket{{{_SERVICE}, le="{le}"}}': "0+2x30"
    for le in ("0.25", "0.5", "+Inf")
}

CASES = [
    Case("InferenceErrorBudgetBurnsFast", "2 % fail for an hour", _outcomes("0+98x90", "0+2x90"), 80, _OF_MODEL),
    Case("InferenceErrorBudgetBurnsFast", "1 % fail", _outcomes("0+99x90", "0+1x90"), 80, None),
    Case("InferenceErrorBudgetBurnsFast", "all fail, but only for a minute",
         _outcomes("0+600x70 42000x1 42600+600x20", "0x70 600x22"), 71, None),
    Case("InferenceErrorBudgetBurnsFast", "clients spoil half of their requests",
         _outcomes("0+50x90", "0+50x90", "invalid_input"), 80, None),
    Case("InferenceErrorBudgetBurnsFast", "there are no requests", _outcomes("5x90", "7x90"), 80, None),
    Case("InferenceErrorBudgetBurns", "1 % fail for six hours", _outcomes("0+99x40", "0+1x40"), 390, _OF_MODEL, 10),
    Case("InferenceErrorBudgetBurns", "0.5 % fail", _outcomes("0+995x40", "0+5x40"), 390, None, 10),
    Case("InferenceErrorBudgetBurnsSlowly", "0.2 % fail for three days",
         _outcomes(f"0+998x{_HOURS}", f"0+2x{_HOURS}"), 4500, _OF_MODEL, 60),
    Case("InferenceErrorBudgetBurnsSlowly", "0.05 % fail",
         _outcomes(f"0+9995x{_HOURS}", f"0+5x{_HOURS}"), 4500, None, 60),
    Case("InferenceLatencyBudgetBurnsFast", "a fifth takes more than a second", _durations("0+80x90", "0+100x90"), 80, _OF_MODEL),
    Case("InferenceLatencyBudgetBurnsFast", "a tenth does", _durations("0+90x90", "0+100x90"), 80, None),
    Case("InferenceLatencyBudgetBurns", "a tenth does, for six hours", _durations("0+90x40", "0+100x40"), 390, _OF_MODEL, 10),
    Case("InferenceLatencyBudgetBurns", "one of twenty does", _durations("0+95x40", "0+100x40"), 390, None, 10),
    Case("InferenceSaturated", "two slots are busy for 57 of 60 seconds",
         _gauge("batch_seconds_total", "0+114x30") | _gauge("slots", "2x30"), 20, _OF_VERSION),
    Case("InferenceSaturated", "they are busy for half of the time",
         _gauge("batch_seconds_total", "0+60x30") | _gauge("slots", "2x30"), 20, None),
    Case("InferenceQueueNearLimit", "the queue is at 90 %",
         _gauge("queue_wait_seconds", "0.9x20") | _gauge("queue_wait_limit_seconds", "1x20"), 10, _OF_VERSION),
    Case("InferenceQueueNearLimit", "it is for a minute",
         _gauge("queue_wait_seconds", "0.1x5 0.9x1 0.1x14") | _gauge("queue_wait_limit_seconds", "1x20"), 10, None),
    Case("InferenceRefusals", "a tenth is refused",
         _outcomes("0+90x30", "0+10x30", "rejected")
         | {f'inference_rejected_total{{{_SERVICE}, model="m", reason="overload"}}': "0+10x30"}, 20, _OF_MODEL),
    Case("InferenceRefusals", "one of a hundred is",
         _outcomes("0+99x30", "0+1x30", "rejected")
         | {f'inference_rejected_total{{{_SERVICE}, model="m", reason="overload"}}': "0+1x30"}, 20, None),
    Case("InferenceEventLoopBlocked", "half of the timers are late", _LAG, 20, _AT),
    Case("InferenceEventLoopBlocked", "none is", _NO_LAG, 20, None),
    Case("InferenceModelFailed", "a version has failed", _gauge("model_state", "1x10", ', state="failed"'), 5,
         {**_OF_VERSION, "state": "failed"}),
    Case("InferenceModelFailed", "a version is ready",
         _gauge("model_state", "0x10", ', state="failed"') | _gauge("model_state", "1x10", ', state="ready"'), 5, None),
    Case("InferenceReloadFailed", "a load has failed", _gauge("model_loads_total", "0x5 1x10", ', outcome="failed"'), 10,
         {**_OF_VERSION, "outcome": "failed"}),
    Case("InferenceReloadFailed", "loads succeed", _gauge("model_loads_total", "0+1x15", ', outcome="loaded"'), 10, None),
    Case("InferenceNothingReady", "no version is ready", _gauge("model_ready", "0x20"), 15, _AT),
    Case("InferenceNothingReady", "one of two is",
         _gauge("model_ready", "0x20") | {f'inference_model_ready{{{_SERVICE}, model="n", version="1"}}': "1x20"}, 15, None),
    Case("InferenceRunStuck", "a run goes on for minutes", _gauge("longest_run_seconds", "0+60x10"), 5, _OF_VERSION),
    Case("InferenceRunStuck", "runs take half a minute", _gauge("longest_run_seconds", "30x10"), 5, None),
    Case("InferenceModelProcessRestarts", "it crashes again and again",
         _gauge("model_process_restarts_total", "0+1x20"), 10, _OF_VERSION),
    Case("InferenceModelProcessRestarts", "it was replaced once",
         _gauge("model_process_restarts_total", "0x5 1x20"), 10, None),
    Case("InferenceCostModelDrifts", "runs take thrice as long as expected",
         _gauge("batch_seconds_total", "0+3x80") | _gauge("batch_predicted_seconds_total", "0+1x80"), 70, _OF_VERSION),
    Case("InferenceCostModelDrifts", "they take a third",
         _gauge("batch_seconds_total", "0+1x80") | _gauge("batch_predicted_seconds_total", "0+3x80"), 70, _OF_VERSION),
    Case("InferenceCostModelDrifts", "they take a tenth more",
         _gauge("batch_seconds_total", "0+11x80") | _gauge("batch_predicted_seconds_total", "0+10x80"), 70, None),
    Case("InferenceCostModelDrifts", "nothing runs",
         _gauge("batch_seconds_total", "3x80") | _gauge("batch_predicted_seconds_total", "1x80"), 70, None),
    Case("InferenceBatchSafetyViolated", "rows were mixed up", _gauge("batch_safety_violations_total", "0x5 1x20"), 10, _OF_VERSION),
    Case("InferenceBatchSafetyViolated", "none was", _gauge("batch_safety_violations_total", "0x20"), 10, None),
    Case("InferenceDown", "it can't be scraped", _own("up", "1x5 0x10"), 10, _AT),
    Case("InferenceDown", "it can", _own("up", "1x15"), 10, None),
    Case("InferenceMemoryNearLimit", "service and helpers use 95 of 100",
         _own("inference_resident_memory_bytes", "75x20", ', process="service"')
         | _own("inference_resident_memory_bytes", "20x20", ', process="models"')
         | _own("inference_memory_limit_bytes", "100x20"), 15, _AT),
    Case("InferenceMemoryNearLimit", "they use 60",
         _own("inference_resident_memory_bytes", "60x20", ', process="service"')
         | _own("inference_memory_limit_bytes", "100x20"), 15, None),
    Case("InferenceMemoryGrows", "it grows by a tenth in an hour",
         _own("inference_resident_memory_bytes", "1000+20x50", ', process="service"')
         | _own("inference_memory_limit_bytes", "2000x50"), 480, _AT, 10),
    Case("InferenceMemoryGrows", "it stays",
         _own("inference_resident_memory_bytes", "1000x50", ', process="service"')
         | _own("inference_memory_limit_bytes", "2000x50"), 480, None, 10),
]  # fmt: skip


GROUPS = [
    f"inference-service-{name}"
    for name in ("ratios", "readings", "objectives", "load", "models", "process")
]
STEPS = sorted({case.step for case in CASES})


def promtool_tests(step: int, rules: list[str], alerts: dict[str, Any]) -> dict[str, Any]:
    """The file for ``promtool test rules`` of the cases with this step. ``alerts`` are the rules by
    name, without annotations."""
    return {
        "rule_files": rules,
        "group_eval_order": GROUPS,  # any order otherwise, and alerts read what is recorded
        "evaluation_interval": f"{step}m",
        "tests": [_test(case, alerts[case.alert]) for case in CASES if case.step == step],
    }


def _test(case: Case, rule: dict[str, Any]) -> dict[str, Any]:
    expected = []
    if case.labels is not None:
        expected = [{"exp_labels": {**case.labels, **rule["labels"]}}]
    return {
        "interval": f"{case.step}m",
        "input_series": [
            {"series": name, "values": values} for name, values in case.series.items()
        ],
        "alert_rule_test": [
            {"eval_time": f"{case.minute}m", "alertname": case.alert, "exp_alerts": expected}
        ],
    }
