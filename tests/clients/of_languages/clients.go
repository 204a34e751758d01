// Go's net/http and resty: a line of kind, client and answer for each call.
// Usage: go run clients.go URL PICTURE
package main

import (
	"bytes"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/go-resty/resty"
)

const text = `{"text": "zebra zoo"}`

func tell(kind, client, answer string, err error) {
	if err != nil {
		answer = err.Error()
	}
	fmt.Println(strings.Join([]string{kind, client, strings.ReplaceAll(answer, "\n", " ")}, "\t"))
}

func read(kind, client string, answer *http.Response, err error) {
	if err != nil {
		tell(kind, client, "", err)
		return
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	tell(kind, client, string(body), err)
}

func opened(path string) *os.File {
	file, err := os.Open(path)
	if err != nil {
		panic(err)
	}
	return file
}

func main() {
	letters, colours, picture := os.Args[1]+"/models/letters/classify", os.Args[1]+"/models/colours/classify", os.Args[2]

	answer, err := http.Post(letters, "application/json", strings.NewReader(text))
	read("text", "net/http", answer, err)
	request, _ := http.NewRequest("POST", letters, strings.NewReader(text))
	request.Header.Set("Expect", "100-continue")
	answer, err = http.DefaultClient.Do(request)
	read("text", "net/http, Expect", answer, err)
	answer, err = http.PostForm(letters, url.Values{"texts[]": {"zebra zoo", "yes"}})
	read("texts", "net/http, form", answer, err)
	answer, err = http.Post(colours, "", opened(picture))
	read("picture", "net/http, file", answer, err)
	reader, writer := io.Pipe()
	form := multipart.NewWriter(writer)
	go func() {
		part, _ := form.CreateFormFile("image", "red.png")
		io.Copy(part, opened(picture))
		form.Close()
		writer.Close()
	}()
	answer, err = http.Post(colours, form.FormDataContentType(), reader)
	read("picture", "net/http, multipart", answer, err)

	client := resty.New()
	told, err := client.R().SetBody(map[string]string{"text": "zebra zoo"}).Post(letters)
	tell("text", "resty", told.String(), err)
	told, err = client.R().SetBody([]byte(text)).Post(letters)
	tell("text", "resty, bytes", told.String(), err)
	told, err = client.R().SetFile("image", picture).Post(colours)
	tell("picture", "resty, file", told.String(), err)
	told, err = client.R().SetFileReader("image", "red.png", bytes.NewReader(must(os.ReadFile(picture)))).Post(colours)
	tell("picture", "resty, reader", told.String(), err)
}

func must(data []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return data
}
