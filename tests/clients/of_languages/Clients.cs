// .NET's HttpClient and WebClient: a line of kind, client and answer for each call.
// Usage: mcs -r:System.Net.Http.dll Clients.cs && mono Clients.exe URL PICTURE
using System;
using System.Collections.Generic;
using System.IO;
using System.Net;
using System.Net.Http;
using System.Text;
using System.Threading.Tasks;

class Clients
{
    static readonly HttpClient Http = new HttpClient();

    static async Task Tell(string kind, string client, string where, HttpContent body)
    {
        string answer;
        try
        {
            answer = await (await Http.PostAsync(where, body)).Content.ReadAsStringAsync();
        }
        catch (Exception error)
        {
            answer = error.Message;
        }
        Console.WriteLine(string.Join("\t", kind, client, answer.Replace("\n", " ")));
    }

    static async Task Ask(string url, string picture)
    {
        string letters = url + "/models/letters/classify", colours = url + "/models/colours/classify";
        const string json = "{\"text\": \"zebra zoo\"}";
        var two = new[]
        {
            new KeyValuePair<string, string>("texts[0]", "zebra zoo"),
            new KeyValuePair<string, string>("texts[1]", "yes"),
        };
        await Tell("text", "StringContent", letters, new StringContent(json, Encoding.UTF8, "application/json"));
        await Tell("text", "StringContent without a type", letters, new StringContent(json));
        await Tell("texts", "FormUrlEncodedContent", letters, new FormUrlEncodedContent(two));
        await Tell("picture", "ByteArrayContent", colours, new ByteArrayContent(File.ReadAllBytes(picture)));
        await Tell("picture", "StreamContent", colours, new StreamContent(File.OpenRead(picture)));
        var form = new MultipartFormDataContent();
        form.Add(new StreamContent(File.OpenRead(picture)), "images", "red.png");
        form.Add(new StreamContent(File.OpenRead(picture)), "\"images\"", "\"red.png\"");
        await Tell("pictures", "MultipartFormDataContent", colours, form);
        Http.DefaultRequestHeaders.ExpectContinue = true;
        await Tell("text", "Expect: 100-continue", letters, new StringContent(json));
        Console.WriteLine("text\tWebClient\t" + new WebClient().UploadString(letters, json).Replace("\n", " "));
        byte[] answer = new WebClient().UploadFile(colours, picture);
        Console.WriteLine("picture\tWebClient, file\t" + Encoding.UTF8.GetString(answer).Replace("\n", " "));
    }

    static void Main(string[] given)
    {
        Ask(given[0], given[1]).Wait();
    }
}
