# curl, wget, wget2 and HTTPie: a line of kind, client and answer for each call.
# Usage: bash clients.sh URL PICTURE
letters=$1/models/letters/classify
colours=$1/models/colours/classify
picture=$2
json='{"text": "zebra zoo"}'

tell() {
    kind=$1 client=$2
    shift 2
    printf '%s\t%s\t%s\n' "$kind" "$client" "$("$@" 2>&1 | tr '\n' ' ')"
}

tell text 'curl -d' curl -sS "$letters" -d "$json"
tell text 'curl --json' curl -sS "$letters" --json "$json"
tell text 'curl --http2' curl -sS --http2 "$letters" --json "$json"
tell text 'curl --http1.0' curl -sS --http1.0 "$letters" -d "$json"
tell text 'curl --data-urlencode' curl -sS "$letters" --data-urlencode 'text=zebra zoo'
tell texts 'curl -F' curl -sS "$letters" -F 'texts[]=zebra zoo' -F 'texts[]=yes'
tell picture 'curl -F, file' curl -sS "$colours" -F "image=@$picture"
tell picture 'curl --data-binary' curl -sS "$colours" --data-binary "@$picture"
tell picture 'curl -T' curl -sS -X POST -T "$picture" "$colours"
tell picture 'curl -T -' curl -sS -X POST -T - "$colours" < "$picture"
tell text 'curl, Expect and chunks' curl -sS "$letters" -H 'Expect: 100-continue' -H 'Transfer-Encoding: chunked' -d "$json"
tell text 'wget --post-data' wget -qO- --post-data="$json" "$letters"
tell picture 'wget --post-file' wget -qO- --post-file="$picture" "$colours"
tell text 'wget2' wget2 -qO- --post-data="$json" "$letters"
tell text 'http' http --ignore-stdin --body POST "$letters" text='zebra zoo'
tell text 'http --compress' http --ignore-stdin --body -x -x POST "$letters" text='zebra zoo'
tell text 'http --form' http --ignore-stdin --body --form POST "$letters" text='zebra zoo'
tell picture 'http --form, file' http --ignore-stdin --body --form POST "$colours" "image@$picture"
tell picture 'http <' http --body POST "$colours" < "$picture"
