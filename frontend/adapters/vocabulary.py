"""A vocabulary that was given other tokens for an adapter: its embeddings have more rows than the base's, or fewer."""

from typing import Any

from graphwright.frontend.adapters.files import Adapter
from graphwright.frontend.adapters.places import Places
from graphwright.ir import WeightError


def adapted_vocabulary(adapter: Adapter, model: Any) -> int | None:
    """How many tokens the adapter's embeddings have, None where that is as many as the model has.

    Raises `WeightError` where the adapter has another number of rows of some embeddings and does not hold the others.
    """
    places = Places(model)
    embeddings = {id(each.weight): each for each in (model.get_input_embeddings(), _output(model)) if each is not None}
    rows: dict[str, int] = {}
    missing: list[str] = []
    names = {places.name(key): tensor for key, tensor in adapter.replaced.items()}
    for weight in embeddings:
        tied = [name for name, each in places.weights.items() if id(each) == weight]
        held = [name for name in tied if name in names]
        rows |= {name: int(str(names[name].type.shape[0])) for name in held if names[name].type.rank == 2}
        # A copy that was trained is tied to nothing: the others have rows of their own.
        copied = not adapter.settings.ensure_weight_tying and any(map(adapter.settings.is_saved, held))
        missing += [name for name in tied if name not in held] if copied else [] if held else tied[:1]
    changed = {name: count for name, count in rows.items() if count != places.lengths(name)[0]}
    if not changed:
        return None
    name, count = next(iter(changed.items()))
    if missing or len({*rows.values()}) > 1:
        others = missing or [each for each in rows if rows[each] != count]
        raise WeightError(
            f"{adapter.file}: '{name}' has {count} rows, for another vocabulary than the base's, "
            f"and there is no '{others[0]}' of as many: save the adapter with save_embedding_layers=True"
        )
    return count


def _output(model: Any) -> Any:
    """The output embeddings, None where there are none."""
    try:
        found = model.get_output_embeddings()
    except (AttributeError, NotImplementedError):
        return None
    return found if getattr(found, "weight", None) is not None else None
