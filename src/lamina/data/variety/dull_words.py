"""Words that name no topic: they stand in texts about anything."""

from __future__ import annotations

from functools import lru_cache

_MORE = {
    "en": (
        "about above across after again all almost along already also although always among another any "
        "anyone anybody anything around because become becomes been before being below between both called "
        "came can cannot come could did does doing done down during each either especially even ever every "
        "example few first following found four from further gave generally get give given going gone good "
        "got great had has have having her here hers him his how however including include included includes "
        "indeed into its itself just kind know known large last later least less like long made main make "
        "makes making many may maybe might more most mostly much must near need never new next no nor not "
        "nothing now off often old once one only onto other others our out over own part particularly people "
        "perhaps put rather really right said same saw say says second see seem seemed seen several shall she "
        "should since small some someone something sometimes still such sure take taken term than that their "
        "them themselves then there therefore these they thing things think this those though thought three "
        "through thus time times today together too toward two under until upon use used uses using usually "
        "various very want was way well went were what whatever when where whether which while who whole whom "
        "whose why will with within without won would year years yes yet you your yours don didn doesn isn "
        "wasn aren couldn wouldn okay yeah hey hello whats"
    ),
    "fr": (
        "ainsi alors après aucun aucune aujourd'hui aussi autre autres avait avant avec avoir beaucoup bien "
        "car ceci cela celle celles celui ces cet cette ceux chaque chez cinq comme comment contre dans "
        "depuis dernier dernière des deux devant dire dit doit donc dont durant elle elles encore enfin "
        "ensemble entre est étaient était étant été être eux faire fait font forme furent généralement grand "
        "grande grandes grands ils jamais jusqu'à jusque leur leurs lors lorsque lui mais même mêmes mieux "
        "moins moment non notamment notre nous nouveau nouvelle ont ou où par parfois parmi partie pas "
        "pendant peu peut peuvent plupart plus plusieurs pour pourrait pourtant premier première presque puis "
        "quand quatre que quel quelle quelques qui quoi rien sans sauf selon sera ses seulement situé située "
        "soit son sont souvent sous sur surtout tandis tant tel telle tels terme tous tout toute toutes très "
        "trois trop une utilisé vers voir vos votre vous"
    ),
    "es": (
        "además ahora algo alguna algunas alguno algunos allí ambos ante antes años aquel aquella aquí así "
        "aún aunque bajo bien cada casi como con conocida conocido contra cual cuales cualquier cuando cuatro "
        "cuyo debe decir del dentro desde después dicho donde dos durante ella ellas ello ellos embargo "
        "entonces entre era eran ese esta está están estaba estas este esto estos forma fue fueron gran "
        "grande grandes había hace hacia han hasta hay incluso junto las les los luego manera mayor mayoría "
        "más menos mientras mismo mucha muchas mucho muchos muy nada nombre nuevo nunca otra otras otro otros "
        "para parte pero poco podría porque primer primera principal principalmente propio puede pueden pues "
        "que quien ser según será sido siempre sin sino sobre sólo solo son suele sus también tan tanto tener "
        "término tiempo tiene tienen toda todas todavía todo todos tras tres tuvo una unas uno unos usa usado "
        "utiliza utilizado varias varios veces vez"
    ),
    "de": (
        "aber alle allem allen aller alles als also andere anderen auch auf aus beim bereits bis bzw dabei "
        "dadurch daher damit danach dann darauf darin das dass davon dazu dem den denn der deren des dessen "
        "die dies diese diesem diesen dieser dieses doch dort durch ein eine einem einen einer eines einige "
        "erst erste ersten etwa etwas für gegen gibt habe haben hat hatte hier ihm ihn ihr ihre ihrem ihren "
        "ihrer immer ist jede jeder jedoch jetzt kann kein keine können konnte machen man mehr mehrere meist "
        "mit muss müssen nach nicht noch nun nur oder ohne schon sehr sein seine seinem seinen seiner seit "
        "selbst sich sie sind sogar solche soll sollte sowie teil über und unter viel viele vom von vor war "
        "waren wegen weil weitere wenn werden wie wieder wird wobei wurde wurden zum zur zwar zwei zwischen"
    ),
    "it": (
        "alla alle allo anche ancora altre altri altro anni aveva avere che chi ciascuno circa come con "
        "contro così cui dagli dai dal dalla dalle degli dei del della delle dello dopo dove due durante era "
        "erano essere fare fino fra gli grande hanno infatti inoltre loro maggior meno mentre molte molti "
        "molto negli nei nel nella nelle non nome ogni oltre parte per però perché più poi possono prima "
        "primo può quale quali quando quanto quella quelle quelli quello questa queste questi questo qui "
        "secondo sempre senza sia solo sono sopra sotto spesso stata state stati stato sua sue sugli sui sul "
        "sulla suo suoi tale tra tre tutte tutti tutto una uno venne viene"
    ),
    "pt": (
        "ainda algumas alguns além anos antes após aquele assim até cada com como contra cujo das dos depois "
        "desde dois durante ela elas ele eles embora enquanto entre era eram essa esse esta este estão está "
        "foi foram forma geral grande havia isso isto mais maior maioria mas menos mesmo muito muitos nas nos "
        "nome não onde outra outras outro outros para parte pela pelas pelo pelos pode podem pois por porque "
        "porém principal quais qual quando que quem segundo sem sendo ser seu seus sido sobre sua suas são "
        "também tanto tem tempo ter todas todo todos três uma umas vários vez"
    ),
}


@lru_cache(maxsize=1)
def dull_words() -> frozenset[str]:
    """Function words of many languages, and words of six that say as little, in lower case."""
    from lamina.data.clean.stopwords import languages, stop_words

    found = {word for language in languages() for word in stop_words(language)}
    return frozenset(found | {word for words in _MORE.values() for word in words.split()})
