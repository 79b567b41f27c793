"""The stories: scenes and what can happen in them.

Seven plots share their openings, their suppers and their endings. Each plot's name begins the names of its scenes.
"""

from examples.storyteller import words
from examples.storyteller.grammar import Grammar, Option
from examples.storyteller.template import Fact

_FACTS = {
    "hero": Fact(words.CHARACTERS),
    "species": Fact(words.SPECIES),
    "nature": Fact(words.NATURES),
    "home": Fact(words.HOMES),
    "whimsy": Fact(words.WHIMSIES),
    "food": Fact(words.FOODS),
    "season": Fact(words.SEASONS),
    "hour": Fact(words.HOURS),
    "weather": Fact(words.WEATHERS, suits="season"),
    "colour": Fact(words.COLOURS),
    "treasure": Fact(words.TREASURES),
    "care": Fact(words.CARES, suits="treasure"),
    "hiding": Fact(words.HIDINGS, suits="treasure"),
    "spot": Fact(words.SPOTS),
    "other_spot": Fact(words.SPOTS, unlike=("spot",)),
    "junk": Fact(words.JUNK),
    "sound": Fact(words.SOUNDS),
    "excuse": Fact(words.EXCUSES),
    "friend": Fact(words.CHARACTERS, unlike=("hero",)),
    "kin": Fact(words.SPECIES, unlike=("species",)),
    "manner": Fact(words.NATURES, unlike=("nature",)),
    "feeling": Fact(words.FEELINGS),
    "craft": Fact(words.CRAFTS),
    "mishap": Fact(words.MISHAPS),
    "fate": Fact(words.FATES),
    "goal": Fact(words.GOALS),
    "arrival": Fact(words.ARRIVALS),
    "number": Fact(words.NUMBERS),
    "day": Fact(words.DAYS),
    "other_day": Fact(words.DAYS, unlike=("day",)),
    "limit": Fact(words.LIMITS),
    "moral": Fact(words.MORALS),
}

_BEGINNING = {
    "opening": (
        Option(
            5, "Once upon a time there was [nature]{nature.a} [species]{species.plain} named [hero]{hero.name}.", "home"
        ),
        Option(3, "[hero]{hero.name} was [nature]{nature.a} [species]{species.plain}.", "home"),
        Option(
            2,
            "In the days when [whimsy]{whimsy.clause}, there was [nature]{nature.a} [species]{species.plain} called "
            "[hero]{hero.name}.",
            "home",
        ),
        Option(
            2,
            "Have you heard of [hero]{hero.name}, the [nature]{nature.plain} [species]{species.plain} who lived "
            "[home]{home.where}?",
            "food",
        ),
        Option(
            2,
            "Far away, [home]{home.where}, lived [nature]{nature.a} [species]{species.plain} by the name of "
            "[hero]{hero.name}.",
            "food",
        ),
    ),
    "home": (
        Option(3, "{hero.They} lived [home]{home.where} and loved [food]{food.noun}.", "day"),
        Option(2, "{hero.Their} home was [home]{home.where}, and it smelled of [food]{food.noun}.", "day"),
    ),
    "food": (
        Option(2, "{hero.They} could eat [food]{food.noun} all day.", "day"),
        Option(2, "There was always [food]{food.serving} on {hero.their} table.", "day"),
        Option(1, "Nobody made better [food]{food.noun}.", "day"),
    ),
    "day": (
        Option(3, "One [season]{season.plain} [hour]{hour.noun}, while [weather]{weather.clause},", "trouble"),
        Option(2, "Then, on [season]{season.a} [hour]{hour.noun} when [weather]{weather.clause},", "trouble"),
    ),
    "trouble": (
        Option(3, "{hero.name} could not find {hero.their} [colour]{colour.plain} [treasure]{treasure.plain}.", "lost"),
        Option(3, "{hero.name} found [colour]{colour.a} [treasure]{treasure.plain} [spot]{spot.where}.", "found"),
        Option(3, "there was a strange [sound]{sound.plain} [spot]{spot.where}.", "noise"),
        Option(
            3,
            "{hero.name} remembered that it was the birthday of [friend]{friend.name}, [manner]{manner.a} "
            "[kin]{kin.plain} who had everything.",
            "gift",
        ),
        Option(
            3,
            "{hero.name} and [friend]{friend.name} the [kin]{kin.plain} both wanted the same "
            "[colour]{colour.plain} [treasure]{treasure.plain}.",
            "quarrel",
        ),
        Option(3, "the {nature.plain} {species.plain} set out for [goal]{goal.noun}.", "journey"),
        Option(3, "{hero.name} wished for [colour]{colour.a} [treasure]{treasure.plain}.", "wish"),
    ),
}

_LOST = {
    "lost": (
        Option(
            3,
            "{hero.They} looked [spot]{spot.where} and [other_spot]{other_spot.where}, but there was only "
            "[junk]{junk.a}.",
            "lost_visit",
        ),
        Option(2, "{hero.They} searched [spot]{spot.where} and found nothing but [junk]{junk.a}.", "lost_visit"),
    ),
    "lost_visit": (
        Option(2, "Just then [friend]{friend.name} the [kin]{kin.plain} came to tea.", "lost_question"),
        Option(2, "At last {hero.they} asked [friend]{friend.name}, the [kin]{kin.plain} next door.", "lost_answer"),
    ),
    "lost_question": (
        Option(1, '"Have you seen my {colour.plain} {treasure.plain}?" asked {hero.name}.', "lost_answer"),
        Option(1, '"My {treasure.plain} is gone!" cried {hero.name}.', "lost_answer"),
    ),
    "lost_answer": (
        Option(3, '"It is [hiding]{hiding.where}," said the {kin.plain}.', "lost_relief"),
        Option(
            2, '"You lent it to me on [day]{day.noun}," said {friend.name}, "and I forgot to give it back."', "ending"
        ),
    ),
    "lost_relief": (
        Option(2, "And so it was. {hero.name} felt very [feeling]{feeling.adjective}.", "ending"),
        Option(2, "How they laughed!", "supper"),
    ),
}

_FOUND = {
    "found": (
        Option(2, "{hero.They} [care]{care.clause} and wondered whose it was.", "found_owner"),
        Option(1, '"Who could have lost it?" {hero.they} wondered.', "found_owner"),
    ),
    "found_owner": (
        Option(
            2,
            "The next day [friend]{friend.name} the [kin]{kin.plain} came by, looking [feeling]{feeling.adjective}.",
            "found_claim",
        ),
        Option(
            2,
            "{hero.They} carried it from door to door until {hero.they} met [friend]{friend.name}, [manner]{manner.a} "
            "[kin]{kin.plain}.",
            "found_claim",
        ),
    ),
    "found_claim": (
        Option(2, '"That is my {colour.plain} {treasure.plain}!" cried the {kin.plain}.', "found_thanks"),
        Option(1, '"I lost {colour.a} {treasure.plain} on [day]{day.noun}," said {friend.name}.', "found_thanks"),
    ),
    "found_thanks": (
        Option(2, '"Then it is yours," said {hero.name}, who was as honest as {species.a} can be.', "supper"),
        Option(2, "{hero.name} gave it back at once, and the {kin.plain} hugged {hero.them}.", "ending"),
    ),
}

_NOISE = {
    "noise": (
        Option(
            2,
            "{hero.name} took {hero.their} [colour]{colour.plain} [treasure]{treasure.plain} and crept closer.",
            "noise_call",
        ),
        Option(
            2,
            "Holding [colour]{colour.a} [treasure]{treasure.plain} like a sword, {hero.name} went to look.",
            "noise_call",
        ),
    ),
    "noise_call": (
        Option(2, '"Who is there?" {hero.they} whispered.', "noise_answer"),
        Option(1, '"Come out, whoever you are!" {hero.they} called.', "noise_answer"),
    ),
    "noise_answer": (
        Option(
            2,
            "It was only [friend]{friend.name} the [kin]{kin.plain}, who [excuse]{excuse.clause}.",
            "noise_relief",
        ),
        Option(
            1,
            "Out came [friend]{friend.name}, [manner]{manner.a} [kin]{kin.plain} who [excuse]{excuse.clause}.",
            "noise_relief",
        ),
    ),
    "noise_relief": (
        Option(2, '"So that was the {sound.plain}!" laughed the {nature.plain} {species.plain}.', "supper"),
        Option(
            1,
            '"Mind my {treasure.plain}," said the {nature.plain} {species.plain}, feeling '
            "[feeling]{feeling.adjective}.",
            "ending",
        ),
    ),
}

_GIFT = {
    "gift": (
        Option(2, "First {hero.they} tried to [craft]{craft.verb}, but [mishap]{mishap.clause}.", "gift_idea"),
        Option(1, '"I will [craft]{craft.verb}," said {hero.name}, but [mishap]{mishap.clause}.', "gift_idea"),
    ),
    "gift_idea": (
        Option(
            2,
            "So {hero.they} wrapped up {hero.their} own [colour]{colour.plain} [treasure]{treasure.plain}.",
            "gift_thanks",
        ),
        Option(
            2,
            "In the end {hero.they} gave away the best thing {hero.they} had, [colour]{colour.a} "
            "[treasure]{treasure.plain}.",
            "gift_thanks",
        ),
    ),
    "gift_thanks": (
        Option(2, '"I have everything but {treasure.a}!" cried the {kin.plain}.', "ending"),
        Option(2, "{friend.name} [care]{care.clause} and smiled at {hero.name}.", "supper"),
    ),
}

_QUARREL = {
    "quarrel": (
        Option(2, '"I saw it first," said {hero.name}. "But I saw it better," said {friend.name}.', "quarrel_fight"),
        Option(1, '"It is mine!" shouted the {species.plain}. "It is not!" shouted the {kin.plain}.', "quarrel_fight"),
    ),
    "quarrel_fight": (
        Option(2, "They pulled and pulled until the {treasure.plain} [fate]{fate.clause}.", "quarrel_peace"),
        Option(1, "For [number]{number.noun} days they did not speak.", "quarrel_peace"),
    ),
    "quarrel_peace": (
        Option(
            2,
            'Then {friend.name} said, "You may have it on [day]{day.noun}, and I on [other_day]{other_day.noun}."',
            "supper",
        ),
        Option(2, '"Sorry," said the {species.plain}. "Sorry," said the {kin.plain}.', "ending"),
        Option(1, "Then they looked at each other and began to laugh.", "ending"),
    ),
}

_JOURNEY = {
    "journey": (
        Option(
            2,
            "{hero.They} packed [colour]{colour.a} [treasure]{treasure.plain} and {food.serving}.",
            "journey_meeting",
        ),
        Option(1, "{hero.They} took nothing but [colour]{colour.a} [treasure]{treasure.plain}.", "journey_meeting"),
    ),
    "journey_meeting": (
        Option(
            2,
            "On the road {hero.they} met [friend]{friend.name}, [manner]{manner.a} [kin]{kin.plain} who "
            "[excuse]{excuse.clause}.",
            "journey_road",
        ),
        Option(
            2,
            "Halfway there {hero.they} tripped over [friend]{friend.name}, [manner]{manner.a} [kin]{kin.plain} asleep "
            "in the grass.",
            "journey_road",
        ),
    ),
    "journey_road": (
        Option(2, '"May I come along?" asked the {kin.plain}.', "journey_arrival"),
        Option(
            2,
            '"I know the way," said {friend.name}, and so they were lost for [number]{number.noun} days.',
            "journey_arrival",
        ),
    ),
    "journey_arrival": (
        Option(3, "When they came to {goal.noun}, [arrival]{arrival.clause}.", "supper"),
        Option(1, "They never did find {goal.noun}, but they had a lovely time looking.", "ending"),
    ),
}

_WISH = {
    "wish": (
        Option(2, "Nothing happened.", "wish_parcel"),
        Option(2, "{hero.They} waited [number]{number.noun} days by the window.", "wish_parcel"),
    ),
    "wish_parcel": (
        Option(
            2,
            "Then [friend]{friend.name}, the [kin]{kin.plain} who brought the post, came with a parcel. "
            "Inside was [junk]{junk.a}.",
            "wish_answer",
        ),
        Option(
            2,
            "On [day]{day.noun} [friend]{friend.name} the [kin]{kin.plain} found [junk]{junk.a} on the doorstep.",
            "wish_answer",
        ),
    ),
    "wish_answer": (
        Option(2, '"You must have mumbled," said the {kin.plain}.', "wish_thanks"),
        Option(1, '"It was meant to be {colour.plain}," said {hero.name}.', "wish_thanks"),
    ),
    "wish_thanks": (
        Option(
            2,
            "But the {nature.plain} {species.plain} put the {junk.plain} on the shelf and was very "
            "[feeling]{feeling.adjective}.",
            "ending",
        ),
        Option(2, '"Perhaps {junk.a} is better than {treasure.a}," said {hero.name}.', "supper"),
    ),
}

_END = {
    "supper": (
        Option(3, "By nightfall {weather.after}, and they shared {food.serving}.", "ending"),
        Option(2, "Then they ate {food.noun} until [limit]{limit.clause}.", "ending"),
        Option(2, "They walked back to {home.recall} together.", "ending"),
        Option(1, "The {nature.plain} {species.plain} put the kettle on.", "ending"),
    ),
    "ending": (
        Option(3, "From that day on the {species.plain} and the {kin.plain} were the best of friends.", None),
        Option(2, "Which goes to show that even {nature.a} {species.plain} needs a friend.", None),
        Option(2, "And so they learned that [moral]{moral.clause}.", None),
        Option(2, "{hero.name} slept very well that night.", None),
        Option(2, "If you ever pass {home.recall}, say hello to {hero.name} and {friend.name}.", None),
        Option(1, "The {colour.plain} {treasure.plain} was never mentioned again.", None),
    ),
}

STORIES = Grammar(
    start="opening",
    scenes={**_BEGINNING, **_LOST, **_FOUND, **_NOISE, **_GIFT, **_QUARREL, **_JOURNEY, **_WISH, **_END},
    facts=_FACTS,
)
