"""The words of the stories: who and what a fact can be, in the forms in which the templates say it."""

from examples.storyteller.template import Entry


def _with_article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _entries(form: str, listing: str, **others: str) -> tuple[Entry, ...]:
    """An entry for each `|`-separated text of a listing."""
    return tuple(Entry({form: text.strip(), **others}) for text in listing.split("|"))


def _with_articles(listing: str, **others: str) -> tuple[Entry, ...]:
    words = [word.strip() for word in listing.split("|")]
    return tuple(Entry({"plain": word, "a": _with_article(word), **others}) for word in words)


_SHE = {"they": "she", "them": "her", "their": "her"}
_HE = {"they": "he", "them": "him", "their": "his"}

CHARACTERS = (
    *_entries("name", "Ada|Bella|Clara|Dora|Elsie|Fern|Hazel|Ivy|Juno|Luna|Maisie|Nell|Olive|Poppy|Tilly|Zoë", **_SHE),
    *_entries("name", "Alfie|Basil|Bruno|Caspar|Felix|Gus|Hugo|Jasper|Kit|Leo|Milo|Ned|Otto|Pip|Rufus|Theo", **_HE),
)

SPECIES = _with_articles(
    "hedgehog|fox|badger|otter|rabbit|owl|mouse|bear|squirrel|duck|frog|goose|mole|beaver|hare|heron|tortoise|cat|"
    "penguin|goat"
)

NATURES = _with_articles(
    "shy|brave|clumsy|curious|cheerful|sleepy|grumpy|gentle|clever|patient|stubborn|dreamy|tidy|forgetful|proud|polite"
)

HOMES = tuple(
    Entry({"where": where, "recall": recall})
    for where, recall in (
        ("in a crooked house by the river", "the crooked house"),
        ("under the roots of an old oak", "the old oak"),
        ("at the top of a windy hill", "the windy hill"),
        ("beside a quiet pond", "the quiet pond"),
        ("in a cottage full of clocks", "the cottage of clocks"),
        ("on a blue boat", "the blue boat"),
        ("behind the village bakery", "the bakery"),
        ("in a lighthouse by the sea", "the lighthouse"),
        ("at the edge of the forest", "the forest"),
        ("above the toy shop", "the toy shop"),
        ("in a windmill with no sails", "the windmill"),
        ("inside a broken teapot", "the broken teapot"),
        ("between two mossy stones", "the mossy stones"),
        ("in a tree house", "the tree house"),
    )
)

WHIMSIES = _entries(
    "clause",
    "the moon was made of cheese|teapots could sing|clouds were free|the stars still had names|wishes cost a penny|"
    "every door had two keys",
)

FOODS = tuple(
    Entry({"noun": noun, "serving": f"{measure} of {noun}"})
    for noun, measure in (
        ("honey cake", "a slice"),
        ("blackberry jam", "a jar"),
        ("mushroom soup", "a bowl"),
        ("pancakes", "a plate"),
        ("chocolate cake", "a slice"),
        ("apple pie", "a slice"),
        ("ginger biscuits", "a tin"),
        ("cinnamon buns", "a basket"),
        ("plum pudding", "a bowl"),
        ("cherry tart", "a slice"),
        ("roasted chestnuts", "a bag"),
        ("lemon curd", "a jar"),
        ("cheese on toast", "a plate"),
        ("pea soup", "a bowl"),
    )
)

SEASONS = tuple(
    Entry({"plain": season, "a": _with_article(season), "kind": season})
    for season in ("spring", "summer", "autumn", "winter")
)

HOURS = _entries("noun", "morning|afternoon|evening|day")

WEATHERS = tuple(
    Entry({"clause": clause, "after": after, "suits": seasons})
    for clause, after, seasons in (
        ("the rain was drumming on the roof", "the rain had stopped", "spring autumn"),
        ("the wind was chasing the leaves", "the wind was out of breath", "autumn"),
        ("the snow was falling softly", "the snow lay deep", "winter"),
        ("the sun was shining", "the sun was going down", "spring summer autumn winter"),
        ("the fog was thick as porridge", "the fog had lifted", "autumn winter"),
        ("thunder was grumbling far away", "the thunder had gone home", "summer"),
        ("the bees were busy", "the bees had gone to bed", "spring summer"),
        ("the pond was frozen", "the ice had begun to sing", "winter"),
        ("the cherry trees were in bloom", "the path was white with petals", "spring"),
    )
)

COLOURS = _with_articles(
    "red|blue|golden|silver|green|purple|striped|shiny|wooden|spotted|tiny|enormous|crooked|yellow|orange|pink"
)

TREASURES = (
    *_with_articles("drum|trumpet|violin|flute|banjo|accordion", kind="music"),
    *_with_articles("scarf|hat|coat|crown|bow tie|nightcap", kind="clothing"),
    *_with_articles("lantern|compass|telescope|umbrella|paintbrush|spoon", kind="tool"),
    *_with_articles("button|marble|pearl|feather|ribbon|pebble", kind="trinket"),
)

CARES = (
    *_entries("clause", "played it a little|tapped it twice|tried a tune on it", suits="music"),
    *_entries("clause", "tried it on|brushed the dust off it|admired it in the mirror", suits="clothing"),
    *_entries("clause", "polished it|shook it carefully|turned it over and over", suits="tool"),
    *_entries("clause", "held it up to the light|kept it in a matchbox|gave it a name", suits="trinket"),
)

HIDINGS = (
    *_entries("where", "on your back|under your arm", suits="music tool"),
    *_entries("where", "on your head|in your other hand", suits="clothing tool"),
    *_entries("where", "behind your ear|in your pocket|between your toes", suits="trinket"),
    *_entries("where", "right behind you", suits="music clothing tool trinket"),
)

SPOTS = _entries(
    "where",
    "under the bed|behind the stove|in the flour barrel|on top of the wardrobe|beneath the stairs|in the bath|"
    "inside the piano|behind the curtain|up the chimney|among the cabbages|under the doormat|in the wheelbarrow",
)

JUNK = _with_articles(
    "wet sock|sleeping snail|cold potato|rusty nail|bent fork|paper boat|very old sandwich|jar of buttons|"
    "surprised spider|ball of string|map of nowhere|left shoe"
)

SOUNDS = _with_articles("humming|crash|sneeze|creak|knocking|whistle|snore|splash|giggle|rattle")

EXCUSES = _entries(
    "clause",
    "had come to borrow some sugar|was learning to dance|had fallen asleep in a bucket|was looking for the way home|"
    "had swallowed a whistle|was practising magic|was counting the stars|had lost a bet with a snail|"
    "was hiding from the dentist|had followed a butterfly",
)

FEELINGS = _entries("adjective", "happy|foolish|sad|worried|surprised|tired|lonely|hopeful")

CRAFTS = _entries(
    "verb", "bake a cake|knit a jumper|paint a portrait|write a poem|carve a chair|build a clock|sew a quilt"
)

MISHAPS = _entries(
    "clause",
    "it rolled down the hill|the wind carried it off|it fell to pieces|it came out upside down|a goat ate it|"
    "it would not stop growing|it ran away|it looked like a potato",
)

FATES = _entries(
    "clause",
    "flew over the fence|landed in the pond|got stuck in a tree|hit a passing snail|rolled under the bridge|"
    "ended up on the roof",
)

GOALS = _entries(
    "noun",
    "the sea|the end of the rainbow|the moon|the highest mountain|the edge of the map|the oldest tree in the world|"
    "the house of the wind|the great waterfall|the glass castle|the far side of the lake",
)

ARRIVALS = _entries(
    "clause",
    "it was closed|it was smaller than they had hoped|the view took their breath away|nobody was home|"
    "they had forgotten why they came|a sign said please do not touch",
)

NUMBERS = _entries("noun", "two|three|four|five|six|seven|nine|eleven")

DAYS = _entries("noun", "Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday")

LIMITS = _entries(
    "clause", "the moon came up|they could not move|the stars came out|the owls complained|the candles burned low"
)

MORALS = _entries(
    "clause",
    "two can share one umbrella|a friend is worth more than gold|it is wise to look up|soup tastes better in company|"
    "most monsters are neighbours|nobody is too old for pancakes|the long way home has the best view|"
    "sorry is a short word",
)
