"""The first tables."""

from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
    ]

    operations = [
        migrations.CreateModel(
            name='Order',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('made', models.DateTimeField(auto_now_add=True)),
                ('sha256', models.CharField(max_length=64)),
                ('length', models.PositiveIntegerField()),
                ('taken_by', models.CharField(blank=True, max_length=20)),
                ('printed', models.PositiveIntegerField(default=0)),
                ('printed_by', models.CharField(blank=True, max_length=20)),
            ],
        ),
        migrations.CreateModel(
            name='Report',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('made', models.DateTimeField(auto_now_add=True)),
                ('release', models.CharField(blank=True, max_length=20)),
                ('waiting', models.PositiveIntegerField()),
            ],
        ),
    ]
