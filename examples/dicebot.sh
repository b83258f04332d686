#!/usr/bin/env bash
# A bot in 15 lines of shell: say `!dice` in its room. It connects to any node, without a broker and without a library.
# Run it beside a cluster (`parlour up -d`; `parlour status` tells the nodes' addresses):
#     examples/dicebot.sh [HOST [PORT [ROOM]]]
host=${1:-127.0.0.1} port=${2:-6010} room=${3:-lobby} id=0
# Write a text as a JSON string. Control characters but line ends are left out.
quote() { local s=${1//\\/\\\\}; s=${s//\"/\\\"}; s=${s//$'\n'/\\n}; printf '"%s"' "${s//[[:cntrl:]]/}"; }
exec 3<>"/dev/tcp/$host/$port" || exit 1 # bash connects by itself; everything else goes through this file, 3
printf '{"type":"hello","name":"dicebot","bot":true}\n{"type":"join","room":%s}\n' "$(quote "$room")" >&3
while read -r line <&3; do
  case $line in
    '{"type":"ping"}') echo '{"type":"pong"}' >&3 ;; # the node asks after 15 s of silence, and gives up after 45 s
    # In JSON a quote within a text is written \" so no text can contain this pattern.
    '{"type":"message",'*'"text":"!dice"'*)
      by=${line#*'"by":"'} by=${by%%'","at":'*} # part of a JSON string, so it can go into another as it is
      printf '{"type":"say","room":%s,"id":%d,"text":"%s rolls %d"}\n' "$(quote "$room")" $((id += 1)) "$by" $((RANDOM % 6 + 1)) >&3 ;;
    '{"type":"error",'*) printf 'dicebot: %s\n' "$line" >&2 ;;
  esac
done
echo 'dicebot: the node closed the connection' >&2
exit 1
