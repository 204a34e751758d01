# Ruby's Net::HTTP, Faraday, HTTParty and rest-client: a line of kind, client and answer for each call.
# Usage: ruby clients.rb URL PICTURE
require 'faraday'
require 'httparty'
require 'json'
require 'net/http'
require 'rest-client'

url, PICTURE = ARGV
LETTERS = "#{url}/models/letters/classify"
COLOURS = "#{url}/models/colours/classify"
ONE = { text: 'zebra zoo' }
TWO = { texts: ['zebra zoo', 'yes'] }
JSON_TYPE = { 'Content-Type' => 'application/json' }

def tell(kind, client)
  answer = begin
    yield.to_s
  rescue StandardError => e
    "#{e.class}: #{e.message}"
  end
  puts [kind, client, answer.tr("\n", ' ')].join("\t")
end

def asked(request)
  Net::HTTP.start(URI(LETTERS).host, URI(LETTERS).port) { |http| http.request(request).body }
end

def upload
  Faraday::UploadIO.new(PICTURE, 'image/png')
end

tell('text', 'Net::HTTP') { Net::HTTP.post(URI(LETTERS), ONE.to_json, JSON_TYPE).body }
tell('text', 'Net::HTTP without a type') { Net::HTTP.post(URI(LETTERS), ONE.to_json).body }
tell('texts', 'Net::HTTP, form') { Net::HTTP.post_form(URI(LETTERS), TWO).body }
tell('picture', 'Net::HTTP, multipart') do
  request = Net::HTTP::Post.new(URI(COLOURS))
  request.set_form([['image', File.open(PICTURE)]], 'multipart/form-data')
  asked(request)
end
tell('picture', 'Net::HTTP, stream') do
  request = Net::HTTP::Post.new(URI(COLOURS))
  request.body_stream = File.open(PICTURE)
  request['Transfer-Encoding'] = 'chunked'
  asked(request)
end
tell('text', 'Faraday') { Faraday.post(LETTERS, ONE.to_json, JSON_TYPE).body }
tell('texts', 'Faraday, form') { Faraday.post(LETTERS, TWO).body }
tell('pictures', 'Faraday, multipart') do
  connection = Faraday.new do |made|
    made.request :multipart
    made.adapter Faraday.default_adapter
  end
  connection.post(COLOURS, { images: [upload, upload] }).body
end
tell('text', 'HTTParty') { HTTParty.post(LETTERS, body: ONE.to_json, headers: JSON_TYPE).body }
tell('pictures', 'HTTParty, files') do
  HTTParty.post(COLOURS, body: { images: [File.open(PICTURE), File.open(PICTURE)] }).body
end
tell('text', 'rest-client') { RestClient.post(LETTERS, ONE.to_json, content_type: :json) }
tell('texts', 'rest-client, form') { RestClient.post(LETTERS, TWO) }
tell('pictures', 'rest-client, files') do
  RestClient.post(COLOURS, images: [File.new(PICTURE, 'rb'), File.new(PICTURE, 'rb')])
end
