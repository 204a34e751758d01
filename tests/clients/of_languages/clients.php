<?php
// PHP's curl and streams, and Guzzle: a line of kind, client and answer for each call.
// Usage: php clients.php URL PICTURE
require 'GuzzleHttp/autoload.php';
[, $url, $picture] = $argv;
$letters = "$url/models/letters/classify";
$colours = "$url/models/colours/classify";
$one = ['text' => 'zebra zoo'];
$two = ['texts' => ['zebra zoo', 'yes']];

function tell(string $kind, string $client, string $answer): void
{
    echo implode("\t", [$kind, $client, str_replace("\n", ' ', $answer)]), "\n";
}

function curl(string $where, mixed $body, array $headers = []): string
{
    $call = curl_init($where);
    curl_setopt_array($call, [
        CURLOPT_POST => true, CURLOPT_RETURNTRANSFER => true,
        CURLOPT_POSTFIELDS => $body, CURLOPT_HTTPHEADER => $headers,
    ]);
    $answer = curl_exec($call);
    return $answer === false ? curl_error($call) : $answer;
}

$json = ['Content-Type: application/json'];
tell('text', 'curl, JSON', curl($letters, json_encode($one), $json));
tell('text', 'curl, JSON without a type', curl($letters, json_encode($one)));
tell('text', 'curl, array', curl($letters, $one));
tell('texts', 'curl, http_build_query', curl($letters, http_build_query($two)));
tell('picture', 'curl, CURLFile', curl($colours, ['image' => new CURLFile($picture)]));
tell('pictures', 'curl, CURLFiles', curl($colours, [
    'images[0]' => new CURLFile($picture), 'images[1]' => new CURLFile($picture),
]));
tell('picture', 'curl, bytes', curl($colours, file_get_contents($picture)));
tell('text', 'file_get_contents', file_get_contents($letters, false, stream_context_create([
    'http' => ['method' => 'POST', 'header' => $json[0], 'content' => json_encode($one)],
])));
$guzzle = new GuzzleHttp\Client(['http_errors' => false]);
$file = fn () => ['name' => 'images[]', 'contents' => fopen($picture, 'r')];
tell('text', 'Guzzle, JSON', $guzzle->post($letters, ['json' => $one])->getBody());
tell('texts', 'Guzzle, form', $guzzle->post($letters, ['form_params' => $two])->getBody());
tell('picture', 'Guzzle, body', $guzzle->post($colours, ['body' => fopen($picture, 'r')])->getBody());
tell('pictures', 'Guzzle, multipart', $guzzle->post($colours, ['multipart' => [$file(), $file()]])->getBody());
