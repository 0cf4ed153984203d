"""The words that the lab's models know: the vocabulary of their tokenizer, in order of rank."""

_TEXT = """
the of and to in is that for it as was with be by on not he his but at are this have from or
had an they which one you were her all she there would their we him been has when who will more
no if out so said what up its about into than them can only other new some could time these two
may then do first any my now such like our over man me even most made after also did many
before must through back years where much your way well down should because each just those
people mister how too little state good very make world still own see men work long get here
between both life being under never day same another know while last might us great old year
off come since against go came right used take three small large house school system point
program home fact water room night side place hand head country part number course case week
company question government family group problem word become business story example social
power line area money service field different young seem human local public bad important
political national real best able early likely copper granite river valley mountain winter
summer autumn spring morning evening shadow light colour music paper window garden kitchen
bridge harbour island forest meadow candle lantern engine wheel hammer needle thread button
pocket basket bottle blanket carpet curtain drawer mirror ladder ribbon feather pebble marble
silver golden crimson azure amber violet olive ivory quiet gentle steady rapid silent bright
hollow narrow ancient modern simple common ordinary curious patient careful honest clever eager
stone cloud storm thunder breeze harvest orchard cottage village market castle tower temple
museum library station railway engineer carpenter painter teacher doctor farmer sailor soldier
captain merchant baker butcher tailor weaver potter miner hunter fisher shepherd walk talk
think write read speak listen learn teach carry gather build repair measure compare choose
follow lead open close begin finish remember forget arrive depart travel wander discover
explore imagine suggest explain describe consider decide agree refuse promise answer wonder
notice observe reflect I am a model tensor token layer node rank memory weight cache matrix
vector network fabric cable socket server client request simulated running ranks user assistant
hello hi Spark spark gpt oss qwen openai Qwen Instruct lab NET IB Socket four five six seven
eight nine ten zero 0 1 2 3 4 5 6 7 8 9 10 11 12 16 20 24 32 64 120b 20b 7B . , : ; ! ? - / ( )
' " ... +
"""

VOCABULARY: tuple[str, ...] = tuple(_TEXT.split())
