# LWP, HTTP::Tiny and Mojo::UserAgent: a line of kind, client and answer for each call.
# Usage: perl clients.pl URL PICTURE
use strict;
use warnings;
use HTTP::Tiny;
use LWP::UserAgent;
use Mojo::UserAgent;

my ($url, $picture) = @ARGV;
my $letters = "$url/models/letters/classify";
my $colours = "$url/models/colours/classify";
my $json    = '{"text": "zebra zoo"}';

sub told {
    my ($kind, $client, $answer) = @_;
    $answer =~ tr/\n/ /;
    print join("\t", $kind, $client, $answer), "\n";
}

my $lwp = LWP::UserAgent->new;
told('text', 'LWP', $lwp->post($letters, 'Content-Type' => 'application/json', Content => $json)->content);
told('text', 'LWP, form', $lwp->post($letters, {text => 'zebra zoo'})->content);
told('picture', 'LWP, file', $lwp->post($colours, Content_Type => 'form-data', Content => [image => [$picture]])->content);
my $tiny = HTTP::Tiny->new;
told('text', 'HTTP::Tiny without a type', $tiny->post($letters, {content => $json})->{content});
told('text', 'HTTP::Tiny, form', $tiny->post_form($letters, {text => 'zebra zoo'})->{content});  # it sorts lists
my $mojo = Mojo::UserAgent->new;
told('text', 'Mojo', $mojo->post($letters => json => {text => 'zebra zoo'})->result->body);
told('pictures', 'Mojo, files', $mojo->post($colours => form => {images => [{file => $picture}, {file => $picture}]})->result->body);
