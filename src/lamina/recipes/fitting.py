"""The server fits itself to its machine, and ``lamina serve --explain`` says how."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lamina.kit.errors import InputError
from lamina.recipes.drafts import find_drafts
from lamina.recipes.stack import Stack

if TYPE_CHECKING:
    from lamina.deployment.fit.fitter import Fitter
    from lamina.deployment.load.objective import Objective


def open_fitter(stack: Stack) -> Fitter:
    """Keeps what it measures in the state; what ``[deployment]`` says stands."""
    import torch

    from lamina.deployment.fit.fitter import Fitter
    from lamina.kit.limits import allowed_threads

    deployment = stack.deployment
    torch.set_num_threads(deployment.threads or min(allowed_threads(), torch.get_num_threads()))
    given = {"max_sequences": deployment.max_sequences, "cache_mb": deployment.cache_mb, "threads": deployment.threads}
    return Fitter(stack.state / "machines", goal=objective(stack), given=given)


def objective(stack: Stack) -> Objective:
    """``[deployment] slo``, or no bounds."""
    from lamina.deployment.load.objective import Objective

    return Objective.read(stack.deployment.slo or "", where="deployment.slo")


def explain(stack: Stack, *, as_json: bool) -> Any:
    """Load the champion as ``lamina serve`` does, and tell the roofline and what was chosen, instead of serving."""
    from lamina.deployment.fit.roofline import explain as of_fit
    from lamina.deployment.fit.roofline import in_lines
    from lamina.deployment.loaded import load_version
    from lamina.recipes.versions import open_registry

    fitter, deployment = open_fitter(stack), stack.deployment
    if deployment.engine == "vllm":
        raise InputError("vLLM chooses its sizes itself: only Lamina's own engine is fitted", where="--explain")
    options: dict[str, Any] = {
        "max_sequences": deployment.max_sequences,
        "cache_mb": deployment.cache_mb,
        "cache": deployment.cache,
        "deterministic": deployment.deterministic,
        "context": deployment.context,
    }
    with open_registry(stack) as registry:
        version = registry.resolve("")
        options["draft"] = find_drafts(stack, registry)
        loaded = load_version(registry, version, options, device=deployment.device, fitter=fitter)
    try:
        fit = fitter.fits.get(version.id)
        if fit is None:
            what = "answers whole texts" if loaded.texts is not None else "is served on a GPU"
            raise InputError(f"{version.id} {what}: only decoders on a processor are fitted", where="--explain")
        found = {"version": version.id, **of_fit(fit, fitter.goal)}
    finally:
        loaded.serving.close()
    return found if as_json else f"version   {version.id}\n{in_lines(found)}"
