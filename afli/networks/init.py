"""A model of any wiring started on the edge of chaos of its activation (Section 4.1): see `edge_of_chaos_`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from afli import meanfield as mf
from afli._inputs import scalar, word
from afli.activations import Activation
from afli.errors import NoFixedPointError
from afli.gain import attracting_bias_variance
from afli.networks.draws import WEIGHTS, standard_biases, standard_kernel, standard_weights
from afli.networks.modules import ACTIVATIONS
from afli.networks.running import original, require_material, warn
from afli.networks.survey import UNUSED, Survey, Task, survey

__all__ = ["WEIGHTS", "edge_of_chaos_", "standard_biases", "standard_kernel", "standard_weights"]


@torch.no_grad()
def edge_of_chaos_(
    model: nn.Module,
    phi: Activation | str | Any = None,
    *,
    x: Any = None,
    sigma_b2: float | str | None = None,
    q: float | None = None,
    weights: str = "orthogonal",
    head_variance: float | None = None,
    generator: torch.Generator | None = None,
) -> mf.MeanField:
    """Initialise the layers of `model` in place on the edge of chaos of its activation.

    The model is run once, to see which layers it uses, in which order, and what stands between them. Without `x` every
    parameter must belong to nn.Linear layers one after the other, or be the slope of an nn.PReLU; anything else is
    refused. With `x` convolutions and residual branches are initialised too, and what theory does not cover keeps its
    values and is named in a warning.

    Parameters
    ----------
    model
        The model, with material parameters (no lazy modules, not on the meta device).
    phi
        Its activation: an `Activation`, a name, or a torch module or function. Default: the one that it uses.
    x
        A batch of inputs, of whatever shape the model takes; a tuple of arguments or a dict of keyword arguments for a
        model of several.
    sigma_b2
        The variance of the biases, >= 0; or "attracting" for the smallest at which q* does not repel (gelu: 0.173).
    q
        In place of sigma_b2: the variance of the preactivations, > 0. Biases then get the variance that makes q the
        critical point. With sigma_b2=0, or where layers have no biases, weights keep q without them, and chi_1 is a
        little above 1, the less so the smaller q: for tanh 1.008 at q = 0.1. A warning says if that adds up.
    weights
        "orthogonal" (delta-orthogonal for convolutions) or "gaussian".
    head_variance
        None treats the head (a layer that feeds no other) as any layer, so that logits start with a variance near q*;
        a number >= 0 gives it weights of variance head_variance / n_in and zero biases.
    generator
        Where random numbers come from.

    Returns
    -------
    MeanField
        The theory of the network. Its sigma_w2 is the square of the gain. It holds for inputs with
        ||x||^2 / n = (q* - sigma_b2) / sigma_w2; `afli.networks.modules.InputScale(net, x)` brings them there.

    Raises
    ------
    ValueError, TypeError
        If the model, or an argument, is not as described; the message says which layer, and why.
    NoFixedPointError
        If phi has no edge of chaos at sigma_b2, or without biases does not return to q (gelu).

    Notes
    -----
    If anything is raised, the model and the generator are as before.

    A shortcut h + B(h) adds the variance of its branch to that of the sum, so q cannot stay at q*. The last layer of
    each of the L branches is scaled by 1/sqrt(L): q grows by V(q) / (q L), about 1/L, a block, less than e in all, and
    so does the squared gradient, chi_1 = 1 + 1/L. A rectifier between the blocks, phi(h) + B(phi(h)), leaves the units
    with a mean; then q grows by up to sigma_w2 / L a block. Where two branches meet, each gives one half.

    Examples
    --------
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 2))
    >>> net = edge_of_chaos_(model, sigma_b2=0.1)
    >>> round(net.sigma_w2, 3), round(net.q, 3)
    (1.986, 0.806)
    """
    model = original(model)
    word("weights", weights, WEIGHTS)
    if head_variance is not None:
        head_variance = scalar("head_variance", head_variance, low=0.0)
    if x is None:
        _require_linear(model)
    found = survey(model, x, phi)
    if found.phi is None:
        others = f" ({_listed(found)})" if found.untouched else ""
        raise ValueError(f"phi must be given: no activation was found between the layers of model{others}")
    net = _theory(found, sigma_b2, q)
    broken = {name: reason for name, reason in found.untouched.items() if not reason.endswith(UNUSED)}
    if x is None and broken:
        name, reason = next(iter(broken.items()))
        raise ValueError(f"model must be nn.Linear layers one after the other; {name}: {reason}. With x, it may stay")
    if not found.tasks:
        raise ValueError(f"model has no layer that theory can initialise: {_listed(found)}")
    with _all_or_nothing(found.tasks, generator):
        _write(found, net, weights, head_variance, generator)
        _report(found, net, x)  # a warning may be an error
    return net


def _theory(found: Survey, sigma_b2: float | str | None, q: float | None) -> mf.MeanField:
    """The network to draw: on the edge of chaos, or near it without biases. Raises ValueError if it cannot be drawn."""
    phi = found.phi
    assert phi is not None
    lacking = [task.name for task in found.tasks if task.module.bias is None]
    if q is not None:
        if sigma_b2 not in (None, 0, 0.0):
            raise ValueError(f"sigma_b2 must be left out or 0 where q is given, got {sigma_b2!r}")
        return _without_biases(phi, q) if lacking or sigma_b2 is not None else mf.critical_at(phi, q=q)
    if sigma_b2 is None:
        raise ValueError("sigma_b2 must be given (0.1, say), or the variance q in its place")
    if isinstance(sigma_b2, str):
        if sigma_b2 != "attracting":
            raise ValueError(f"sigma_b2 must be a number or 'attracting', got {sigma_b2!r}")
        # A hair above the threshold, so that rounding does not decide on which side the point lies.
        sigma_b2 = attracting_bias_variance(phi) * (1 + 1e-6)
    try:
        net = mf.edge_of_chaos(phi, sigma_b2=sigma_b2)
    except NoFixedPointError as error:
        if sigma_b2 == 0:
            raise NoFixedPointError(f"{error}. With zero biases choose the variance in its place: q=0.1, say") from None
        raise
    if lacking and net.sigma_b2 > 0:
        raise ValueError(
            f"every layer needs a bias where sigma_b2 > 0, {lacking[0]} has none; use bias=True, or choose the variance"
            " in place of the bias variance: q=0.1, say"
        )
    return net


def _without_biases(phi: Activation, q: float) -> mf.MeanField:
    """The network without biases that keeps the variance q; chi_1 = q E phi'^2 / E phi^2 tends to 1 with q.

    Raises NoFixedPointError if the variance does not return to q.
    """
    if phi.is_homogeneous:
        return mf.critical_at(phi, q=q)
    square = mf.variance_map(phi, q, sigma_w2=1.0, sigma_b2=0.0)
    try:
        net = mf.MeanField(phi, sigma_w2=q / square, sigma_b2=0.0, start=q * (1 + 1e-6))
        if abs(net.q / q - 1) < 1e-3:
            return net
    except NoFixedPointError:
        pass
    raise NoFixedPointError(f"without biases the variance of {phi.name} does not return to q={q:g}: it needs biases")


def _require_linear(model: nn.Module) -> None:
    """Raises ValueError unless all parameters belong to nn.Linear and activations: then a batch can be guessed."""
    require_material(model)
    if not any(isinstance(module, nn.Linear) for module in model.modules()):
        raise ValueError("model must contain at least one nn.Linear layer, found none")
    plain = (nn.Linear, nn.PReLU, *ACTIVATIONS, parametrize.ParametrizationList)
    ours = {id(p) for module in model.modules() if isinstance(module, plain) for p in module.parameters()}
    for name, parameter in model.named_parameters():
        if id(parameter) not in ours:
            raise ValueError(
                f"model must have parameters in nn.Linear layers only, found {name}; "
                "with x, a batch of inputs, other layers are covered or named"
            )


# --- Drawing and writing ---


def _write(
    found: Survey,
    net: mf.MeanField,
    weights: str,
    head_variance: float | None,
    generator: torch.Generator | None,
) -> None:
    for task in found.tasks:
        variance, bias_variance = task.share * net.sigma_w2, task.share * net.sigma_b2
        if head_variance is not None and task.head:
            variance, bias_variance = head_variance, 0.0
        _assign(task, "weight", math.sqrt(variance) * standard_kernel(task.module, weights, generator))
        if task.module.bias is not None:
            draw = standard_biases(len(task.module.bias), generator)  # type: ignore[arg-type]
            _assign(task, "bias", math.sqrt(bias_variance) * draw)


def _assign(task: Task, name: str, value: Tensor) -> None:
    """Write a parameter; through the right inverse of its parametrisation, if it has one, and see that it took it."""
    parameter = getattr(task.module, name)
    value = value.to(parameter)
    if not parametrize.is_parametrized(task.module, name):
        parameter.copy_(value)
        return
    kind = type(task.module.parametrizations[name][0]).__name__.lstrip("_")  # type: ignore[index]
    refusal = ValueError(f"{task.name}.{name} is parametrised by {kind}, which cannot hold weights of that variance")
    try:
        setattr(task.module, name, value)
    except (NotImplementedError, RuntimeError, ValueError) as error:
        raise refusal from error
    # Far above rounding, far below what a constraint changes.
    if float((getattr(task.module, name) - value).norm()) > 1e-2 * float(value.norm()):
        raise refusal


@contextmanager
def _all_or_nothing(tasks: list[Task], generator: torch.Generator | None) -> Iterator[None]:
    """If anything is raised inside, parameters, buffers, modes and the random state are put back."""
    modules = [module for task in tasks for module in task.module.modules()]
    modes = [module.training for module in modules]
    stores = [store for module in modules for store in (module._parameters, module._buffers)]
    held = [dict(store) for store in stores]  # a parametrisation may put other tensors in their place
    tensors = [t for store in held for t in store.values() if t is not None]
    copies = [t.detach().clone() for t in tensors]
    state = torch.get_rng_state() if generator is None else generator.get_state()
    try:
        for module in modules:
            module.training = False  # spectral_norm updates its vectors whenever it is looked at in training
        yield
    except BaseException:
        for store, before in zip(stores, held, strict=True):
            store.update(before)  # type: ignore[arg-type]
        for tensor, values in zip(tensors, copies, strict=True):
            tensor.copy_(values)
        torch.set_rng_state(state) if generator is None else generator.set_state(state)
        raise
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode


# --- What the user is told ---


def _listed(found: Survey) -> str:
    return "; ".join(f"{name}: {reason}" for name, reason in found.untouched.items())


def _report(found: Survey, net: mf.MeanField, x: Any) -> None:
    """Warnings about whatever makes the returned theory less than the whole truth."""
    if found.untouched:
        warn(f"not touched: {_listed(found)}")
    if found.notes:
        warn("; ".join(found.notes))
    if not net.attracts:
        try:
            remedy = f"from sigma_b2 = {attracting_bias_variance(net.phi):.3g} on: sigma_b2='attracting'"
        except NoFixedPointError:
            remedy = "at no sigma_b2"
        warn(
            f"q* = {net.q:.4g} of {net.phi.name} at sigma_b2 = {net.sigma_b2:g} repels (V'(q*) = "
            f"{net.variance_slope:.4g} > 1): in a deep network the variance drifts away from it. It attracts {remedy}"
        )
    if (growth := net.chi1 ** len(found.tasks)) > 2:
        warn(f"chi_1 = {net.chi1:.4g}: squared gradients grow by {growth:.3g} over these layers; a smaller q helps")
    if x is None or net.phi.is_homogeneous:
        return
    wanted = net.input_mean_square
    # Within 10% is what one batch of a data set differs from another by.
    off = [t for t in found.tasks if t.input_mean_square < 0.9 * wanted or t.input_mean_square > 1.1 * wanted]
    if off:
        has = ", ".join(dict.fromkeys(f"{t.input_mean_square:.4g}" for t in off))
        said = f"theory holds for inputs of mean square {wanted:.4g}, this batch has {has}: "
        own = float(x.double().square().mean()) if isinstance(x, Tensor) else math.nan
        if all(math.isclose(t.input_mean_square, own, rel_tol=1e-3) for t in off):
            warn(f"{said}put afli.networks.modules.InputScale(net, x) in front")
        else:  # several inputs, or one that the model changes first
            factors = [f"what {t.name} reads by {math.sqrt(wanted / t.input_mean_square):.4g}" for t in off]
            warn(f"{said}multiply {', '.join(factors)}")
