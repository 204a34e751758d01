// OkHttp, Apache's HttpClient 5 and Spring's RestTemplate: a line of kind, client and answer for each call.
// Usage: java -cp JARS Clients.java URL PICTURE
import java.io.File;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import okhttp3.FormBody;
import okhttp3.MediaType;
import okhttp3.MultipartBody;
import okhttp3.OkHttpClient;
import okhttp3.Request;
import okhttp3.RequestBody;
import org.apache.hc.client5.http.classic.methods.HttpPost;
import org.apache.hc.client5.http.entity.GzipCompressingEntity;
import org.apache.hc.client5.http.entity.UrlEncodedFormEntity;
import org.apache.hc.client5.http.entity.mime.MultipartEntityBuilder;
import org.apache.hc.client5.http.impl.classic.HttpClients;
import org.apache.hc.core5.http.ContentType;
import org.apache.hc.core5.http.HttpEntity;
import org.apache.hc.core5.http.io.entity.ByteArrayEntity;
import org.apache.hc.core5.http.io.entity.EntityUtils;
import org.apache.hc.core5.http.io.entity.FileEntity;
import org.apache.hc.core5.http.io.entity.StringEntity;
import org.apache.hc.core5.http.message.BasicNameValuePair;
import org.springframework.core.io.FileSystemResource;
import org.springframework.util.LinkedMultiValueMap;
import org.springframework.web.client.RestTemplate;

public class Clients {
    interface Call {
        String answer() throws IOException;
    }

    static void tell(String kind, String client, Call call) {
        String answer;
        try {
            answer = call.answer();
        } catch (Exception error) {
            answer = error.toString();
        }
        System.out.println(kind + "\t" + client + "\t" + answer.replace("\n", " "));
    }

    static final OkHttpClient OK = new OkHttpClient();

    static Call ok(String where, RequestBody body) {
        return () -> {
            try (var answer = OK.newCall(new Request.Builder().url(where).post(body).build()).execute()) {
                return answer.body().string();
            }
        };
    }

    static Call apache(String where, HttpEntity body) {
        return () -> {
            HttpPost post = new HttpPost(where);
            post.setEntity(body);
            return HttpClients.createDefault().execute(post, answer -> EntityUtils.toString(answer.getEntity()));
        };
    }

    static Call spring(String where, Object body) {
        return () -> new RestTemplate().postForObject(where, body, String.class);
    }

    public static void main(String[] given) throws IOException {
        String letters = given[0] + "/models/letters/classify", colours = given[0] + "/models/colours/classify";
        File picture = new File(given[1]);
        String json = "{\"text\": \"zebra zoo\"}";
        MediaType png = MediaType.parse("image/png");

        tell("text", "OkHttp", ok(letters, RequestBody.create(MediaType.parse("application/json"), json)));
        tell("text", "OkHttp without a type", ok(letters, RequestBody.create(null, json)));
        tell("texts", "OkHttp, form", ok(letters,
            new FormBody.Builder().add("texts[]", "zebra zoo").add("texts[]", "yes").build()));
        tell("picture", "OkHttp, file", ok(colours, RequestBody.create(png, picture)));
        tell("picture", "OkHttp, multipart", ok(colours, new MultipartBody.Builder()
            .addFormDataPart("image", "red.png", RequestBody.create(png, picture)).build()));

        tell("text", "Apache", apache(letters, new StringEntity(json, ContentType.APPLICATION_JSON)));
        tell("text", "Apache, bytes", apache(letters,
            new ByteArrayEntity(json.getBytes(StandardCharsets.UTF_8), ContentType.DEFAULT_BINARY)));
        tell("text", "Apache, gzip", apache(letters,
            new GzipCompressingEntity(new StringEntity(json, ContentType.APPLICATION_JSON))));
        tell("text", "Apache, form in ISO-8859-1", apache(letters,
            new UrlEncodedFormEntity(List.of(new BasicNameValuePair("text", "z\u00e9bra zoo")))));
        tell("text", "Apache, multipart text", apache(letters,
            MultipartEntityBuilder.create().addTextBody("text", "z\u00e9bra zoo").build()));
        tell("picture", "Apache, file", apache(colours, new FileEntity(picture, null)));
        tell("picture", "Apache, multipart", apache(colours,
            MultipartEntityBuilder.create().addBinaryBody("image", picture).build()));

        var files = new LinkedMultiValueMap<String, Object>();
        files.add("images[0]", new FileSystemResource(picture));
        files.add("images[1]", new FileSystemResource(picture));
        tell("text", "Spring", spring(letters, Map.of("text", "zebra zoo")));
        tell("text", "Spring, string", spring(letters, json));
        tell("picture", "Spring, resource", spring(colours, new FileSystemResource(picture)));
        tell("pictures", "Spring, multipart", spring(colours, files));
    }
}
