"""The objective of a fit and its derivatives, for many weightings of the rows at once.

The objective is sum_n w_n rho(residual_n) with a loss rho of `genlab.scaling.fitting.robust`, where a residual is
log predicted - log measured, or predicted - measured for a law whose `response_scale` is linear. JAX
differentiates it twice and compiles it for a batch of problems of one shape.
"""

import dataclasses
import functools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np

from genlab.scaling.fitting.robust import Robust, compiled_terms
from genlab.scaling.law import Law, Positive

_ROWS_PER_CALL = 8_192  # rows x problems of one compiled call: its temporaries stay in the L2 cache
_MOST_PROBLEMS = 32  # of one call: as a bootstrap converges, calls are ever less full


@dataclasses.dataclass(frozen=True, eq=False)
class Table:
    """The rows of a fit: logarithms of the law's inputs [inputs, rows] and the response [rows] in the
    law's scale (see `Law.respond`)."""

    log_inputs: np.ndarray
    response: np.ndarray

    def __len__(self) -> int:
        return len(self.response)

    def take(self, rows: np.ndarray) -> "Table":
        """Some of the rows."""
        return Table(self.log_inputs[:, rows], self.response[rows])


@dataclasses.dataclass(eq=False)
class Local:
    """The objective near one point of each problem.

    Attributes:
      value: [problems].
      gradient: [problems, P].
      hessian: [problems, P, P].
      majoriser: [problems, P, P], sum_n w_n psi(r_n)/r_n J_n J_n^T: the Hessian of iteratively reweighted
        least squares; for Huber's loss psi(r)/r is min(1, delta/|r|).
    """

    value: np.ndarray
    gradient: np.ndarray
    hessian: np.ndarray
    majoriser: np.ndarray

    def take(self, rows) -> "Local":
        """Some of the problems."""
        return Local(*(array[rows] for array in vars(self).values()))

    def put(self, rows, by: "Local") -> None:
        """Overwrites the problems `rows` by those of `by`."""
        for name, array in vars(self).items():
            array[rows] = getattr(by, name)


class Derivatives:
    """Evaluates `Local` for any number of problems, by compiled calls of one shape.

    Calling it takes coordinates [problems, P] and weights [problems, rows].
    """

    def __init__(self, law: Law, table: Table, loss: Robust | float):
        loss = Robust.of(loss)
        rows = _padded(len(table))
        fill = [0] * (rows - len(table))  # copies of row 0, with weight 0
        take = np.concatenate([np.arange(len(table)), np.array(fill, dtype=int)])
        self._padding = len(fill)
        self._batch = int(np.clip(_ROWS_PER_CALL // rows, 1, _MOST_PROBLEMS))
        self._compiled = _compiled(_predictor(law), loss.name)
        self._delta = np.float64(loss.delta)
        with jax.enable_x64(True):
            self._inputs = jnp.asarray(table.log_inputs[:, take])
            self._response = jnp.asarray(table.response[take])

    def __call__(self, coordinates: np.ndarray, weights: np.ndarray) -> "Local":
        problems, rows = weights.shape
        parts = []
        with jax.enable_x64(True):
            for begin in range(0, problems, self._batch):
                part = slice(begin, min(begin + self._batch, problems))
                count = part.stop - begin
                at = np.repeat(coordinates[begin : begin + 1], self._batch, axis=0)
                at[:count] = coordinates[part]
                w = np.zeros((self._batch, rows + self._padding))
                w[:count, :rows] = weights[part]
                found = self._compiled(at, w, self._inputs, self._response, self._delta)
                parts.append([np.asarray(array)[:count] for array in found])
        return Local(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


class Gradients:
    """Evaluates the objective and its gradient alone, one problem a call: for tables of many rows.

    Of 100,000 rows it took 2 ms (20 ns a row), the whole of `Local` 25 ms.
    """

    def __init__(self, law: Law, table: Table, loss: Robust | float):
        loss = Robust.of(loss)
        self._compiled = _compiled_gradient(_predictor(law), loss.name)
        self._delta = np.float64(loss.delta)
        with jax.enable_x64(True):
            self._inputs, self._response = jnp.asarray(table.log_inputs), jnp.asarray(table.response)

    def __call__(
        self, coordinates: np.ndarray, weights: np.ndarray, rows: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """(value [problems], gradient [problems, P]) at coordinates [problems, P] with `weights[rows]`."""
        with jax.enable_x64(True):
            found = [
                self._compiled(at, weights[row], self._inputs, self._response, self._delta)
                for at, row in zip(coordinates, rows, strict=True)
            ]
            values, gradients = zip(*found, strict=True)
            return np.array(values), np.stack([np.asarray(gradient) for gradient in gradients])


def _padded(rows: int) -> int:
    """Row counts are rounded up, so that tables of similar size share a compilation."""
    return max(16, 1 << (rows - 1).bit_length()) if rows <= 1024 else -(-rows // 1024) * 1024


@dataclasses.dataclass(frozen=True, eq=False)
class RowTerms:
    """What each row contributes at one point, without its weight.

    Attributes:
      residual: [rows], predicted - measured in the law's scale.
      jacobian: [rows, P], of the prediction.
      gradient: [rows, P], of the loss of the residual.
      hessian: [rows, P, P], of the loss of the residual.
    """

    residual: np.ndarray
    jacobian: np.ndarray
    gradient: np.ndarray
    hessian: np.ndarray


def row_terms(law: Law, table: Table, loss: Robust | float, at: np.ndarray) -> RowTerms:
    """The contribution of every row to the derivatives of the objective at coordinates [P]."""
    loss = Robust.of(loss)
    compiled = _compiled_rows(_predictor(law), loss.name)
    with jax.enable_x64(True):
        found = compiled(at, jnp.asarray(table.log_inputs), jnp.asarray(table.response), np.float64(loss.delta))
        return RowTerms(*(np.asarray(array) for array in found))


def _predictor(law: Law) -> tuple:
    """What of a law decides its compiled predictions: laws that differ in bounds alone share them."""
    return law.formula, law.inputs, law.parameter_names, tuple(law.is_log.tolist()), law.response_scale


def _predict(predictor: tuple, coordinates, log_inputs):
    """The response in the law's scale, [rows], of JAX arrays."""
    formula, inputs, parameters, is_log, response_scale = predictor
    values = [
        jnp.exp(coordinate) if logarithm else coordinate
        for coordinate, logarithm in zip(coordinates, is_log, strict=True)
    ]
    p = SimpleNamespace(**dict(zip(parameters, values, strict=True)))
    x = SimpleNamespace(**dict(zip(inputs, map(Positive, log_inputs), strict=True)))
    predicted = formula(p, x)
    if response_scale == "log":
        predicted = jnp.log(predicted)
    return jnp.broadcast_to(predicted, log_inputs.shape[1:])


@functools.lru_cache(maxsize=64)
def _compiled_rows(predictor: tuple, loss: str):
    """(residual, Jacobian, gradient, Hessian) of every row at one point, compiled."""
    terms = compiled_terms(loss)

    def rows(at, log_inputs, response, delta):
        def one(c, x):
            return _predict(predictor, c, x[:, None])[0]

        each = (None, 1)
        residual = jax.vmap(one, each)(at, log_inputs) - response
        jacobian = jax.vmap(jax.jacfwd(one), each)(at, log_inputs)
        bend = jax.vmap(jax.hessian(one), each)(at, log_inputs)
        _, psi, curvature, _ = terms(residual, delta)
        outer = jacobian[:, :, None] * jacobian[:, None, :]
        hessian = curvature[:, None, None] * outer + psi[:, None, None] * bend
        return residual, jacobian, psi[:, None] * jacobian, hessian

    return jax.jit(rows)


@functools.lru_cache(maxsize=64)
def _compiled_gradient(predictor: tuple, loss: str):
    """(objective, gradient) of one problem, compiled."""
    terms = compiled_terms(loss)

    def one(at, weights, log_inputs, response, delta):
        predicted, pull = jax.vjp(lambda c: _predict(predictor, c, log_inputs), at)
        rho, psi, *_ = terms(predicted - response, delta)
        return jnp.sum(weights * rho), pull(weights * psi)[0]

    return jax.jit(one)


@functools.lru_cache(maxsize=64)
def _compiled(predictor: tuple, loss: str):
    """(objective, gradient, Hessian, majoriser) of a batch of problems, compiled."""
    terms = compiled_terms(loss)

    def one(at, weights, log_inputs, response, delta):
        directions = jnp.eye(len(at))
        predicted, jacobian_PN = jax.vmap(
            lambda direction: jax.jvp(lambda c: _predict(predictor, c, log_inputs), (at,), (direction,)),
            out_axes=(None, 0),
        )(directions)
        rho, psi, curvature, touching = terms(predicted - response, delta)
        slope = weights * psi
        bend = jax.hessian(lambda c: jnp.sum(slope * _predict(predictor, c, log_inputs)))(at)
        hessian = (jacobian_PN * (weights * curvature)) @ jacobian_PN.T + bend
        majoriser = (jacobian_PN * (weights * touching)) @ jacobian_PN.T
        # Where derivatives overflow (infinity times 0) no step can be taken: a point like one without a value.
        finite = jnp.isfinite(hessian).all() & jnp.isfinite(majoriser).all()
        value = jnp.where(finite, jnp.sum(weights * rho), jnp.inf)
        return value, jacobian_PN @ slope, hessian, majoriser

    return jax.jit(jax.vmap(one, in_axes=(0, 0, None, None, None)))
