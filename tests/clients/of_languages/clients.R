# httr2: a line of kind, client and answer for each call. Usage: Rscript clients.R URL PICTURE
library(httr2)

given <- commandArgs(trailingOnly = TRUE)
letters_of <- request(paste0(given[1], "/models/letters/classify"))
colours <- request(paste0(given[1], "/models/colours/classify"))
picture <- given[2]

tell <- function(kind, client, asked) {
  answer <- tryCatch(resp_body_string(req_perform(asked)), error = conditionMessage)
  cat(kind, client, gsub("\n", " ", answer), sep = "\t")
  cat("\n")
}

tell("text", "JSON", req_body_json(letters_of, list(text = "zebra zoo")))
tell("text", "text of JSON", req_body_raw(letters_of, '{"text": "zebra zoo"}'))
tell("text", "form", req_body_form(letters_of, text = "zebra zoo"))
tell("picture", "file", req_body_file(colours, picture))
tell("picture", "multipart", req_body_multipart(colours, image = curl::form_file(picture)))
