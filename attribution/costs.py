"""What an inference costs, estimated from what it reports and from dated price lists.

Per inference: its own ``cost``; else 0 when it was answered from the gateway's cache; else price × tokens;
else null with a reason, never 0. **No price that came into force after the inference is ever used.**

100,000 input tokens, 50,000 of them cached, and 20,000 output tokens, at 0.000002, 0.0000002 and 0.00001::

    50,000 × 0.000002 + 50,000 × 0.0000002 + 20,000 × 0.00001 = 0.31

Everything is whole numbers: a price is units of 10⁻ˢ, with as many places s as the lists need, a rate units of
10⁻⁹; their product with the tokens is rounded once, half-even, to units of 10⁻¹² of the base currency.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from functools import partial

import polars as pl

from attribution.measure import rates
from attribution.money import INT, UNIT, divide_half_even, integer

COST_PLACES = 12
#: Prices are below 1000 per token: with counts below 2^53 and rates below 10^6 every cost fits 128 bits.
PRICE_LIMIT = 1000
PRICE_PLACES_MAX = 30
STANDARD_TIER = "standard"
#: An estimate of a product below this cannot belong to one that passed 128 bits (1.7e38).
_SAFE_PRODUCT = 1e37


class TokenKind(StrEnum):
    """What has a price of its own; the first three are the parts of the input."""

    INPUT = "input"
    CACHED = "cached"
    CACHE_WRITE = "cache_write"
    OUTPUT = "output"


class CostReason(StrEnum):
    """Why an inference's cost is unknown."""

    NO_PRICE = "no_price"
    NO_USAGE = "no_usage"
    NO_FX_RATE = "no_fx_rate"


@dataclass(frozen=True)
class PriceKey:
    """One price of a model. above_tokens: it holds where the total input is larger; None: at any size."""

    kind: TokenKind
    tier: str = STANDARD_TIER
    above_tokens: int | None = None


#: A model's prices per single token, in the list's currency.
ModelPrices = Mapping[PriceKey, Decimal]


@dataclass(frozen=True)
class PriceList:
    """name: as shown to users; models: by the name they have in the list.

    effective_from_us: the first moment at which it is in force, in microseconds since 1970.
    """

    name: str
    effective_from_us: int
    currency: str
    models: Mapping[str, ModelPrices]


@dataclass(frozen=True)
class Conversion:
    """fx: ``date``, ``currency``, ``rate`` (base currency per unit, Decimal(38, 9)), as for the attribution."""

    fx: pl.DataFrame
    base_currency: str
    fx_max_age_days: int


def token_price(prices: ModelPrices, kind: TokenKind, tier: str, input_tokens: int) -> Decimal | None:
    """The price of one token of a request with ``input_tokens`` in all, or None where there is none.

    Input and output must have a price of their own in the tier. A missing cached or cache-write price is the
    input price; outside the standard tier it is the smaller of the tier's input price and the standard one of
    that kind (where there is one), each at the request's size.
    """
    own = _own_price(prices, kind, tier, input_tokens)
    if own is not None or kind in (TokenKind.INPUT, TokenKind.OUTPUT):
        return own
    plain_input = _own_price(prices, TokenKind.INPUT, tier, input_tokens)
    standard = None if tier == STANDARD_TIER else _own_price(prices, kind, STANDARD_TIER, input_tokens)
    if plain_input is None or standard is None:
        return plain_input
    return min(plain_input, standard)


def _own_price(prices: ModelPrices, kind: TokenKind, tier: str, input_tokens: int) -> Decimal | None:
    """Of the prices above a number of input tokens, the highest number passed counts, else the plain price."""
    above = [key.above_tokens for key in prices if (key.kind, key.tier) == (kind, tier)]
    passed = [tokens for tokens in above if tokens is not None and input_tokens > tokens]
    return prices.get(PriceKey(kind, tier, max(passed, default=None)))


def newest_with(lists: Sequence[PriceList], names: Sequence[str]) -> tuple[PriceList, ModelPrices] | None:
    """The newest list that has a model under any of its names, and its prices there; the first name found counts.

    Which list counts is decided before the name: a newer list that knows only the last of the names wins over
    an older one that knows the first. ``lists`` stand in order of ``effective_from``.
    """
    for price_list in reversed(lists):
        for name in names:
            if name in price_list.models:
                return price_list, price_list.models[name]
    return None


def model_names(model: str, model_version: str | None, provider: str | None) -> list[str]:
    """The names under which a list may have a model, in the order in which they are tried."""
    names = [model] if model_version is None else [model_version, model]
    return names if provider is None else [*names, *(f"{provider}/{name}" for name in names)]


#: What of an inference decides its prices, its rates and, with ``attribution.cost_model.Scope``, its bill lines.
PROFILE_WORDS = ("use_case", "model", "model_version", "endpoint", "provider", "service_tier", "cost_currency")
_MODEL = ["model", "model_version", "provider", "service_tier"]
_PRICE_KEY = ["profile", "_lists", "_passed"]
_PRICES = [f"_{kind}_price" for kind in TokenKind]
_TOKENS = [f"_{kind}_tokens" for kind in TokenKind]


@dataclass(frozen=True)
class Estimator:
    """The prices and rates of a log's few distinct models and days, looked up once for all of its inferences.

    prices: per profile, number of lists in force and number of sizes passed; rates: per foreign currency and day;
    starts_us and sizes: where a list comes into force, and the numbers of input tokens above which some price changes.
    """

    prices: pl.DataFrame
    rates: pl.DataFrame
    base_currency: str
    starts_us: tuple[int, ...]
    sizes: tuple[int, ...]
    places: int

    @classmethod
    def of(
        cls, profiles: pl.DataFrame, days: pl.Series, lists: Iterable[PriceList], conversion: Conversion
    ) -> Estimator:
        """profiles: ``profile`` (UInt32) and the texts of PROFILE_WORDS; days: every day (date) of the inferences."""
        lists = sorted(lists, key=lambda price_list: price_list.effective_from_us)
        places, sizes = _places(lists), _sizes(lists)
        currencies = {*profiles["cost_currency"].drop_nulls(), *(price_list.currency for price_list in lists)}
        return cls(
            prices=_price_table(profiles.select("profile", *_MODEL), lists, places, sizes),
            rates=rate_table(sorted(currencies - {conversion.base_currency}), days.unique(), conversion),
            base_currency=conversion.base_currency,
            starts_us=tuple(price_list.effective_from_us for price_list in lists),
            sizes=tuple(sizes),
            places=places,
        )

    def estimates(self, inferences: pl.DataFrame) -> pl.DataFrame:
        """What each inference is estimated to cost, in their order.

        In go ``profile``, ``cost_currency`` (text), ``event_time``, the token columns, ``cost`` and ``cache_hit``. Out
        come ``estimate`` (Int128 units of 10⁻¹² of the base currency, null where unknown), ``cost_reason`` (why it is
        unknown) and ``price_list`` (the list that made it, null where none did).
        """
        time_us = pl.col("event_time").to_physical()
        input_tokens = pl.col("input_tokens").fill_null(0)
        priced = (
            inferences.lazy()
            .select(
                "profile",
                "cost_currency",
                "cache_hit",
                "input_tokens",
                _count([time_us >= start_us for start_us in self.starts_us]).alias("_lists"),
                _count([input_tokens > size for size in self.sizes]).alias("_passed"),
                pl.col("event_time").dt.date().alias("_day"),
                *_token_columns(),
            )
            .join(self.prices.lazy(), on=_PRICE_KEY, how="left", maintain_order="left")
        )
        rated = self._with_rate(self._with_rate(priced, "_currency", "_rate"), "cost_currency", "_own_rate")
        return (
            rated.with_columns(
                _exact(["_own_units"], ["_one"], "_own_rate", UNIT).alias("_own"),
                _exact(_TOKENS, _PRICES, "_rate", 10 ** (self.places + 9 - COST_PLACES)).alias("_estimate"),
            )
            .with_columns(_cost().alias("estimate"), _cost_reason())
            .select("estimate", "cost_reason", pl.when(_is_estimated_by_price()).then("_list").alias("price_list"))
            .collect()
        )

    def _with_rate(self, rows: pl.LazyFrame, currency: str, rate: str) -> pl.LazyFrame:
        """The rate of each row's currency on its day; looked up only where there is foreign money."""
        of_base = pl.when(pl.col(currency) == self.base_currency).then(pl.lit(UNIT, dtype=INT))
        if self.rates.height == 0:
            return rows.with_columns(of_base.alias(rate))
        foreign = self.rates.lazy().rename({"currency": currency, "rate": "_foreign"})
        joined = rows.join(foreign, on=[currency, "_day"], how="left", maintain_order="left")
        return joined.with_columns(of_base.otherwise("_foreign").alias(rate)).drop("_foreign")


def _places(lists: Iterable[PriceList]) -> int:
    """Places after the point that hold every price, at least those of a cost."""
    places = [COST_PLACES]
    for price_list in lists:
        for model in price_list.models.values():
            places += [-exponent for price in model.values() if isinstance(exponent := price.as_tuple().exponent, int)]
    return max(places)


def _sizes(lists: Iterable[PriceList]) -> list[int]:
    """Every number of input tokens at which some price changes, ascending."""
    keys = {key for price_list in lists for model in price_list.models.values() for key in model}
    return sorted({key.above_tokens for key in keys if key.above_tokens is not None})


def _count(conditions: Sequence[pl.Expr]) -> pl.Expr:
    """How many of the conditions hold, per row."""
    zero = pl.lit(0, dtype=pl.UInt32)
    return pl.sum_horizontal(zero, *(condition.cast(pl.UInt32) for condition in conditions)).cast(pl.UInt32)


def _token_columns() -> list[pl.Expr]:
    """Tokens by kind (absent parts count 0), and an inference's own cost as units times one."""
    cached = pl.col("cached_input_tokens").fill_null(0)
    cache_write = pl.col("cache_write_input_tokens").fill_null(0)
    tokens = [pl.col("input_tokens") - cached - cache_write, cached, cache_write, pl.col("output_tokens").fill_null(0)]
    return [
        *(expression.alias(name) for expression, name in zip(tokens, _TOKENS, strict=True)),
        pl.col("cost").to_physical().alias("_own_units"),
        pl.lit(1, dtype=INT).alias("_one"),
    ]


def _price_table(models: pl.DataFrame, lists: Sequence[PriceList], places: int, sizes: Sequence[int]) -> pl.DataFrame:
    """Prices in units of 10^-places per profile, number of lists in force and number of sizes passed.

    models: ``profile`` and the columns of _MODEL. A loop over the log's distinct models, of which there are few, not
    over its inferences.
    """
    schema = {"profile": pl.UInt32(), "_lists": pl.UInt32(), "_passed": pl.UInt32(), "_list": pl.String()}
    rows: list[tuple[object, ...]] = []
    for profile, model, model_version, provider, service_tier in models.iter_rows():
        names = model_names(model, model_version, provider)
        for in_force in range(1, len(lists) + 1):
            found = newest_with(lists[:in_force], names)
            if found is None:
                continue
            price_list, prices = found
            # Between two sizes prices do not change, so that one stands for all.
            for passed, size in enumerate([0, *(size + 1 for size in sizes)]):
                of_kinds = [token_price(prices, kind, service_tier or STANDARD_TIER, size) for kind in TokenKind]
                price_units = [None if price is None else int(Fraction(price) * 10**places) for price in of_kinds]
                rows.append((profile, in_force, passed, price_list.name, price_list.currency, *price_units))
    return pl.DataFrame(rows, schema={**schema, "_currency": pl.String(), **dict.fromkeys(_PRICES, INT)}, orient="row")


def rate_table(currencies: Sequence[str], days: pl.Series, conversion: Conversion) -> pl.DataFrame:
    """``currency``, ``_day``, ``rate`` (Int128 units of 10⁻⁹, null where there is none in force)."""
    pairs = pl.DataFrame({"currency": currencies}, schema={"currency": pl.String}).join(
        days.to_frame("_day"), how="cross"
    )
    asked = pairs.with_columns(pl.col("_day").cast(pl.Datetime("us", "UTC")).alias("event_time"))
    found = rates(asked, conversion.fx, conversion.base_currency, conversion.fx_max_age_days)
    return pairs.with_columns(found.cast(INT).alias("rate"))


def _exact(tokens: Sequence[str], prices: Sequence[str], rate: str, divisor: int) -> pl.Expr:
    """(Σ tokens × price) × rate / divisor, rounded half-even once; null where one that is needed is null."""
    compute = partial(_exact_product, tokens=tokens, prices=prices, rate=rate, divisor=divisor)
    columns = pl.struct(*tokens, *prices, rate)
    return columns.map_batches(compute, return_dtype=INT, is_elementwise=True)


def _exact_product(
    columns: pl.Series, *, tokens: Sequence[str], prices: Sequence[str], rate: str, divisor: int
) -> pl.Series:
    frame = columns.struct.unnest()
    pairs = list(zip(tokens, prices, strict=True))
    total = frame.select(_sum_of_products(pairs, INT)).to_series()
    result = divide_half_even(total * frame[rate], integer(divisor))
    largest = sum(_largest(frame[token]) * _largest(frame[price]) for token, price in pairs) * _largest(frame[rate])
    if largest < _SAFE_PRODUCT:
        return result
    size = frame.select(_sum_of_products(pairs, pl.Float64()) * pl.col(rate).cast(pl.Float64)).to_series()
    large = (size >= _SAFE_PRODUCT).fill_null(False).arg_true()
    # Row by row, for 128 bits do not hold the product: amounts near the bounds of the input, or prices with
    # more than twenty places.
    exact = [
        round(Fraction(row[rate] * sum(row[token] * (row[price] or 0) for token, price in pairs), divisor))
        for row in frame[large].iter_rows(named=True)
    ]
    return result.scatter(large, pl.Series(exact, dtype=INT)) if len(large) else result


def _largest(column: pl.Series) -> int:
    """The largest value of a column whose values are not negative; 0 without any."""
    largest = column.max()
    return largest if isinstance(largest, int) else 0


def _sum_of_products(pairs: Sequence[tuple[str, str]], dtype: pl.DataType) -> pl.Expr:
    """Σ tokens × price; a price is needed only where there are tokens."""
    products = [
        pl.when(pl.col(token) == 0)
        .then(pl.lit(0, dtype=dtype))
        .otherwise(pl.col(token).cast(dtype) * pl.col(price).cast(dtype))
        for token, price in pairs
    ]
    return pl.sum_horizontal(products, ignore_nulls=False)


_IS_CACHE_HIT = pl.col("cache_hit").fill_null(False)


def _cost() -> pl.Expr:
    """The ladder: own cost, cache hit, price × tokens."""
    estimate = pl.when(_IS_CACHE_HIT).then(pl.lit(0, dtype=INT)).otherwise("_estimate")
    return pl.when(pl.col("_own_units").is_not_null()).then("_own").otherwise(estimate)


def _is_estimated_by_price() -> pl.Expr:
    return pl.col("_own_units").is_null() & ~_IS_CACHE_HIT & pl.col("estimate").is_not_null()


def _cost_reason() -> pl.Expr:
    """The first reason that applies, in the order of the ladder."""
    lacks_price = pl.any_horizontal(
        (pl.col(token) > 0) & pl.col(price).is_null() for token, price in zip(_TOKENS, _PRICES, strict=True)
    )
    reason = {code: pl.lit(code.value) for code in CostReason}
    estimate_reason = (
        pl.when(_IS_CACHE_HIT)
        .then(None)
        .when(pl.col("_currency").is_null())
        .then(reason[CostReason.NO_PRICE])
        .when(pl.col("input_tokens").is_null())
        .then(reason[CostReason.NO_USAGE])
        .when(lacks_price)
        .then(reason[CostReason.NO_PRICE])
        .when(pl.col("_rate").is_null())
        .then(reason[CostReason.NO_FX_RATE])
    )
    own_reason = pl.when(pl.col("_own_rate").is_null()).then(reason[CostReason.NO_FX_RATE])
    return pl.when(pl.col("_own_units").is_not_null()).then(own_reason).otherwise(estimate_reason).alias("cost_reason")
