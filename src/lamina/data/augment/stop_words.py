"""Words that carry grammar, not meaning; they are never replaced by synonyms. Short lists: the commonest words do most.

English after the list in the reference code of Wei and Zou (2019), which is that of the Snowball project.
"""

from __future__ import annotations

from functools import lru_cache

_LISTS = {
    "en": """i me my myself we our ours ourselves you your yours yourself yourselves he him his himself she her hers
        herself it its itself they them their theirs themselves what which who whom whose this that these those am is
        are was were be been being have has had having do does did doing a an the and but if or because as until while
        of at by for with about against between into through during before after above below to from up down in out on
        off over under again further then once here there when where why how all any both each few more most other some
        such no nor not only own same so than too very s t can will just don should now would could may might must
        shall ought cannot don't doesn't didn't won't wouldn't can't couldn't shouldn't isn't aren't wasn't weren't
        haven't hasn't hadn't i'm i've i'll i'd you're you've you'll you'd he's he'd he'll she's she'd she'll it's
        it'd it'll we're we've we'd we'll they're they've they'd they'll that's there's what's who's let's also however
        upon us yet ever never""",
    "de": """aber alle als also am an andere auch auf aus bei bin bis bist da damit dann das dass daß dein dem den
        denn der des dich die dies diese diesem diesen dieser dieses dir doch dort du durch ein eine einem einen einer
        eines er es etwas euch euer für gegen habe haben hat hatte hier hinter ich ihm ihn ihnen ihr ihre ihrem ihren
        ihrer im in ist ja jede jedem jeden jeder jedes kein keine können man mein mich mir mit muss nach nicht nichts
        noch nun nur ob oder ohne sehr sein seine sich sie sind so über um und uns unser unter vom von vor war waren was
        weil wenn wer werden wie wir wird wo wurde wurden zu zum zur zwischen""",
    "fr": """à ai au aux avec ce ces cet cette d dans de des donc du elle elles en es est et étaient était été être eu
        eux il ils je l la là le les leur leurs lui m ma mais me même mes moi mon n ne nos notre nous on ont ou où par
        pas plus pour qu que qui s sa se sera ses si son sont sous sur t ta te tes toi ton tu un une vos votre vous y
        c'est d'un d'une n'est qu'il qu'elle""",
    "es": """a al algo algunas algunos ante antes como con contra cual cuando de del desde donde durante e el él ella
        ellas ellos en entre era eran es esa ese eso esta está estas este esto estos fue fueron ha había han hasta hay
        la las le les lo los más me mi mis mucho muy nada ni no nos nosotros o os otra otro para pero poco por porque
        que qué quien se ser si sí sin sobre son su sus también tan te tiene todo tu tus un una uno unos y ya yo""",
    "it": """a ad agli ai al alla alle allo anche che chi ci c'è come con contro cui da dagli dai dal dalla dalle
        degli dei del della delle dello di e è ed era erano essere fu gli ha hanno i il in io l la le lei li lo loro lui
        ma me mi mia mio ne negli nei nel nella nelle noi non o per perché più quale quando quella quello questa questo
        se sei si sia sono su sua sue sugli sui sul sulla suo tra tu tutti tutto un una uno voi""",
    "pt": """a à ao aos aquela aquele as às até com como da das de dela dele do dos e é ela elas ele eles em entre era
        eram essa esse esta está este eu foi foram há isso isto já lhe mais mas me meu minha muito na não nas nem no nos
        nós o os ou para pela pelas pelo pelos por quando que quem são se sem ser seu seus só sua suas também te tem um
        uma você""",
    "nl": """aan al alles als altijd andere ben bij daar dan dat de der deze die dit doch doen door dus een er ge geen
        had heb hebben heeft hem het hier hij hoe hun iemand iets ik in is ja je kan maar me meer men met mij mijn moet
        na naar niet niets nog nu of om omdat ons ook op over reeds te tegen toch toen tot u uit uw van veel voor want
        waren was wat we wel werd wezen wie wij wil worden zal ze zei zich zij zijn zo zonder zou""",
}


@lru_cache(maxsize=64)
def stop_words(language: str) -> frozenset[str]:
    """The stop words of a language (ISO 639-1), lower case; English ones where it is unknown ("") or not listed."""
    return frozenset(_LISTS.get(language, _LISTS["en"]).split())
